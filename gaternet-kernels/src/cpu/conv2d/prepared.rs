//! Convolutions for inference, whose weights are laid out once and used many times.

use std::ops::Range;

use super::active::{Active, every};
use super::correlate::{Batch, Engine};
use super::direct::Direct;
use super::winograd::{Elements, Taps, Weights, Winograd, WinogradBf16, elements};
use super::{Algorithm, Method, bf16};
use crate::cpu::isa::Isa;
use crate::dims::Conv2dDims;
use crate::dtype::DType;
use crate::error::{KernelError, Result, check_len};

/// The epilogue of a convolution, which follows in the same pass over memory:
/// `relu(sum + bias + residual)`. By default it adds the bias only.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Epilogue<'a> {
    /// (N, F, OH, OW), added to the output. An inactive filter adds 0 to it, without its bias.
    pub residual: Option<&'a [f32]>,
    /// Whether a ReLU comes last. NaN passes through it.
    pub relu: bool,
    /// Whether the planes of inactive filters are left as they are, instead of getting what this
    /// epilogue makes of 0. That suits an output of which only active channels are read.
    pub exclude_inactive: bool,
}

impl<'a> Epilogue<'a> {
    /// The same epilogue with this residual, (N, F, OH, OW).
    #[must_use]
    pub fn with_residual(self, residual: Option<&'a [f32]>) -> Epilogue<'a> {
        Epilogue { residual, ..self }
    }

    /// The same epilogue, with or without a ReLU at the end.
    #[must_use]
    pub fn with_relu(self, relu: bool) -> Epilogue<'a> {
        Epilogue { relu, ..self }
    }

    /// The same epilogue, which writes the planes of inactive filters or leaves them as they are.
    #[must_use]
    pub fn with_exclude_inactive(self, exclude_inactive: bool) -> Epilogue<'a> {
        Epilogue { exclude_inactive, ..self }
    }
}

/// A convolution of one image size, ready to run on any number of samples.
pub struct PreparedConv2d {
    dims: Conv2dDims,
    method: Method,
    form: Form,
    /// The bias of each filter, (F).
    bias: Option<Vec<f32>>,
    /// (F): the row of weights of each filter; `None` if every filter has its own.
    weight_rows: Option<Vec<u32>>,
    /// The numbers 0, 1, ..., the list of all filters or channels.
    every: Vec<u32>,
}

const OP: &str = "prepared conv2d";

enum Form {
    Direct(Direct, Vec<f32>),
    Winograd(Winograd, Weights),
    Elements(Elements, elements::Weights),
    DirectBf16(bf16::Direct, bf16::Weights),
    WinogradBf16(WinogradBf16, bf16::Weights),
}

impl Form {
    /// Lays out `weight` (F, C, KH, KW), whose length was checked.
    fn new(isa: Isa, method: Method, dims: &Conv2dDims, weight: &[f32]) -> Form {
        match (method.algorithm.tile(), method.dtype) {
            (None, DType::F32) => Form::Direct(Direct::forward(isa, dims), weight.to_vec()),
            (Some(4), DType::F32) if Elements::suits(dims.out_size()) => {
                let room = vec![0.0; elements::Weights::len(dims)];
                let weights = elements::Weights::new(isa, &Taps::forward(dims, weight), room);
                Form::Elements(Elements::forward(isa, dims), weights)
            }
            (Some(tile), DType::F32) => {
                let room = vec![0.0; Weights::len(tile, dims)];
                let weights = Weights::new(isa, tile, &Taps::forward(dims, weight), room);
                Form::Winograd(Winograd::forward(isa, dims, tile), weights)
            }
            (None, DType::Bf16) => Form::DirectBf16(
                bf16::Direct::forward(isa, dims),
                bf16::Direct::weights(dims, weight),
            ),
            (Some(tile), DType::Bf16) => Form::WinogradBf16(
                WinogradBf16::forward(isa, dims, tile),
                WinogradBf16::weights(isa, tile, dims, weight),
            ),
        }
    }
}

impl PreparedConv2d {
    /// Prepares the convolution of `weight` (F, C, KH, KW) and `bias` (F). The batch size of `dims`
    /// is that of a usual run, for which the algorithm is chosen.
    ///
    /// # Errors
    /// If a length does not fit `dims`.
    pub fn new(
        isa: Isa,
        dims: &Conv2dDims,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<PreparedConv2d> {
        PreparedConv2d::with_method(isa, Algorithm::choose(dims), dims, weight, bias)
    }

    /// Prepares a convolution as [`new`](Self::new) does, with the method given; an [`Algorithm`]
    /// alone is a method in f32.
    ///
    /// # Errors
    /// If a length does not fit `dims`, or the algorithm cannot compute this convolution.
    pub fn with_method(
        isa: Isa,
        method: impl Into<Method>,
        dims: &Conv2dDims,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<PreparedConv2d> {
        let method = method.into();
        method.algorithm.check(OP, dims)?;
        check_len(OP, "weight", dims.weight_len(), weight.len())?;
        if let Some(bias) = bias {
            check_len(OP, "bias", dims.out_channels(), bias.len())?;
        }
        let form = Form::new(isa, method, dims, weight);
        let (bias, every) = (bias.map(<[f32]>::to_vec), every(dims));
        let dims = dims.with_batch(1)?;
        Ok(PreparedConv2d { dims, method, form, bias, weight_rows: None, every })
    }

    /// Prepares a convolution as [`with_method`](Self::with_method) does, but keeps the weights of
    /// some filters only, whose ascending list is `filters`. The weights and biases of the others
    /// count as zeros and take no memory.
    ///
    /// # Errors
    /// Fails as [`with_method`](Self::with_method) does, and if the list is not ascending or names
    /// a filter that does not exist.
    pub fn of_filters(
        isa: Isa,
        method: impl Into<Method>,
        dims: &Conv2dDims,
        filters: &[u32],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<PreparedConv2d> {
        check_len(OP, "weight", dims.weight_len(), weight.len())?;
        check_list("filters", filters, dims.out_channels())?;
        if filters.len() == dims.out_channels() {
            return PreparedConv2d::with_method(isa, method, dims, weight, bias);
        }
        let filter_len = dims.in_channels() * dims.taps();
        // The other filters have one row of zeros in common, the last.
        let mut kept = Vec::with_capacity((filters.len() + 1) * filter_len);
        let mut weight_rows = vec![filters.len() as u32; dims.out_channels()];
        for (row, filter) in (0..).zip(filters.iter().map(|filter| *filter as usize)) {
            kept.extend_from_slice(&weight[filter * filter_len..(filter + 1) * filter_len]);
            weight_rows[filter] = row;
        }
        kept.resize(kept.len() + filter_len, 0.0);
        let ([h, w], [kh, kw], channels) = (dims.in_size(), dims.kernel(), dims.in_channels());
        let kept_dims = Conv2dDims::new(
            [1, channels, h, w],
            [filters.len() + 1, channels, kh, kw],
            dims.stride(),
            dims.padding(),
        )?;
        let all = PreparedConv2d::with_method(isa, method, &kept_dims, &kept, None)?;
        let mut bias = bias.map(<[f32]>::to_vec);
        if let Some(bias) = &mut bias {
            check_len(OP, "bias", dims.out_channels(), bias.len())?;
            let dropped = bias.iter_mut().zip(&weight_rows);
            dropped.filter(|(_, row)| **row as usize == filters.len()).for_each(|(b, _)| *b = 0.0);
        }
        let weight_rows = Some(weight_rows);
        Ok(PreparedConv2d {
            dims: dims.with_batch(1)?,
            bias,
            weight_rows,
            every: every(dims),
            ..all
        })
    }

    /// Returns the method by which the convolution is computed.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the bytes of the weights as the algorithm reads them. A pass reads those of active
    /// filters and channels.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        match &self.form {
            Form::Direct(_, weight) => size_of_val(weight.as_slice()),
            Form::Winograd(_, weights) => size_of_val(weights.data.as_slice()),
            Form::DirectBf16(_, weights) | Form::WinogradBf16(_, weights) => weights.bytes(),
            Form::Elements(_, weights) => weights.bytes(),
        }
    }

    /// Computes some samples of a larger batch on the calling thread, without allocation after its
    /// first call there.
    ///
    /// `active` has the lists of the larger batch, of which those of `samples` are used. `input` is
    /// (samples, C, H, W); `output` (samples, F, OH, OW) is overwritten.
    ///
    /// # Errors
    /// If a length does not fit, or a list is of other filters or channels or of too few samples.
    pub fn forward_here(
        &self,
        samples: Range<usize>,
        active: Active<'_>,
        input: &[f32],
        epilogue: Epilogue<'_>,
        output: &mut [f32],
    ) -> Result<()> {
        let dims = self.dims.with_batch(samples.len())?;
        active.check_lists(OP, &dims, samples.end..=usize::MAX)?;
        check_lens(&dims, input, epilogue, output)?;
        let batch = self.batch(&dims, active, input, epilogue);
        Batch { first: samples.start, ..batch }.run_here(&self.engine(), output);
        Ok(())
    }

    /// Computes `batch` samples on all threads: each sample on one thread, or if there are too few,
    /// each sample on all threads.
    ///
    /// `input` is (N, C, H, W); `output` (N, F, OH, OW) is overwritten.
    ///
    /// # Errors
    /// If a length or a list does not fit the convolution and batch.
    pub fn forward(
        &self,
        batch: usize,
        active: Active<'_>,
        input: &[f32],
        epilogue: Epilogue<'_>,
        output: &mut [f32],
    ) -> Result<()> {
        let dims = self.dims.with_batch(batch)?;
        active.check(OP, &dims)?;
        check_lens(&dims, input, epilogue, output)?;
        self.batch(&dims, active, input, epilogue).run(&self.engine(), output);
        Ok(())
    }

    fn batch<'a>(
        &'a self,
        dims: &Conv2dDims,
        active: Active<'a>,
        input: &'a [f32],
        epilogue: Epilogue<'a>,
    ) -> Batch<'a> {
        Batch {
            weight_rows: self.weight_rows.as_deref().unwrap_or(&self.every),
            bias: self.bias.as_deref(),
            residual: epilogue.residual,
            relu: epilogue.relu,
            exclude_inactive: epilogue.exclude_inactive,
            ..Batch::forward(dims, active, &self.every, input)
        }
    }

    fn engine(&self) -> Engine<'_> {
        match &self.form {
            Form::Direct(direct, weight) => Engine::Direct(direct, weight),
            Form::Winograd(winograd, weights) => Engine::Winograd(winograd, weights),
            Form::DirectBf16(direct, weights) => Engine::DirectBf16(direct, weights),
            Form::WinogradBf16(winograd, weights) => Engine::WinogradBf16(winograd, weights),
            Form::Elements(elements, weights) => Engine::Elements(elements, weights),
        }
    }
}

fn check_lens(
    dims: &Conv2dDims,
    input: &[f32],
    epilogue: Epilogue<'_>,
    output: &[f32],
) -> Result<()> {
    check_len(OP, "input", dims.input_len(), input.len())?;
    check_len(OP, "output", dims.output_len(), output.len())?;
    if let Some(residual) = epilogue.residual {
        check_len(OP, "residual", dims.output_len(), residual.len())?;
    }
    Ok(())
}

fn check_list(list: &'static str, numbers: &[u32], count: usize) -> Result<()> {
    let ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    if ascending && numbers.last().is_none_or(|last| (*last as usize) < count) {
        return Ok(());
    }
    let rule = "a list must be ascending and below the number of filters or channels";
    Err(KernelError::Dims { op: OP, rule, got: format!("{list} {numbers:?} of {count}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_without_weights_count_as_zeros() {
        let dims = Conv2dDims::new([2, 3, 9, 7], [6, 3, 3, 3], [1; 2], [1; 2]).expect("valid");
        let noise = |len: usize, step: usize| -> Vec<f32> {
            (0..len).map(|i| (i * step % 31) as f32 / 15.0 - 1.0).collect()
        };
        let (weight, bias) = (noise(dims.weight_len(), 7), noise(6, 5));
        let (input, residual) = (noise(dims.input_len(), 11), noise(dims.output_len(), 3));
        let epilogue = Epilogue { residual: Some(&residual), relu: true, exclude_inactive: false };
        for filters in [vec![], vec![1, 4], vec![0, 1, 2, 3, 4, 5]] {
            let (mut zeroed, mut zeroed_bias) = (weight.clone(), bias.clone());
            for dropped in (0..6).filter(|filter| !filters.contains(&(*filter as u32))) {
                zeroed[dropped * 27..(dropped + 1) * 27].fill(0.0);
                zeroed_bias[dropped] = 0.0;
            }
            let methods = DType::ALL
                .into_iter()
                .flat_map(|dtype| Algorithm::ALL.map(|algorithm| Method { algorithm, dtype }));
            for (isa, method) in methods
                .flat_map(|method| Isa::available().into_iter().map(move |isa| (isa, method)))
            {
                let what = format!("{isa:?}, {method:?}, filters {filters:?}");
                let output = |conv: &PreparedConv2d| {
                    let mut output = vec![f32::NAN; dims.output_len()];
                    conv.forward(2, Active::default(), &input, epilogue, &mut output)
                        .expect("fits");
                    let (x, y) = (&input[input.len() / 2..], &mut output.clone()[..378]);
                    let second = Epilogue { residual: Some(&residual[378..]), ..epilogue };
                    conv.forward_here(1..2, Active::default(), x, second, y).expect("fits");
                    assert_eq!(y, &output[378..], "{what}: a sample alone");
                    output
                };
                let bias = Some(bias.as_slice());
                let some = PreparedConv2d::of_filters(isa, method, &dims, &filters, &weight, bias);
                let zeros = Some(zeroed_bias.as_slice());
                let all = PreparedConv2d::with_method(isa, method, &dims, &zeroed, zeros);
                let (some, all) = (some.expect("valid"), all.expect("valid"));
                assert_eq!(output(&some), output(&all), "{what}");
                let rows = (filters.len() + 1).min(6);
                assert_eq!(some.weight_bytes() * 6, all.weight_bytes() * rows, "{what}");
            }
        }
        let refused = PreparedConv2d::of_filters(
            Isa::available()[0],
            Algorithm::Direct,
            &dims,
            &[2, 6],
            &weight,
            None,
        );
        let error = refused.err().expect("there is no filter 6").to_string();
        assert!(error.contains("filters [2, 6] of 6"), "{error}");
    }
}
