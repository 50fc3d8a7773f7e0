//! A convolution whose weights are laid out once and used many times: inference.

use super::correlate::{Batch, Engine};
use super::direct::Direct;
use super::sample::{Sample, SampleEpilogue};
use super::winograd::{Weights, Winograd};
use super::{Algorithm, Live, every};
use crate::cpu::isa::Isa;
use crate::dims::Conv2dDims;
use crate::error::{KernelError, Result, check_len};

/// What follows a convolution in the same pass over memory: `relu(sum + bias + residual)`; by default
/// nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// As large as the output. What a filter that is not live adds to it is 0, its bias included.
    pub residual: Option<&'a [f32]>,
    /// Whether a ReLU comes last. NaN passes through it.
    pub relu: bool,
}

/// A convolution of one image size, ready to run on any number of samples.
pub struct PreparedConv2d {
    dims: Conv2dDims,
    algorithm: Algorithm,
    form: Form,
    /// (F).
    bias: Option<Vec<f32>>,
    /// 0, 1, ...: the list of all filters or channels.
    every: Vec<u32>,
}

const OP: &str = "prepared conv2d";

enum Form {
    Direct(Direct, Vec<f32>),
    Winograd(Winograd, Weights),
}

impl PreparedConv2d {
    /// `weight` (F, C, KH, KW), `bias` (F). The batch size of `dims` does not matter.
    ///
    /// # Errors
    /// If a length does not fit `dims`.
    pub fn new(
        isa: Isa,
        dims: &Conv2dDims,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<PreparedConv2d> {
        PreparedConv2d::with_algorithm(isa, Algorithm::choose(dims), dims, weight, bias)
    }

    /// [`new`](Self::new) with the algorithm given.
    ///
    /// # Errors
    /// If a length does not fit `dims`, or the algorithm cannot compute this convolution.
    pub fn with_algorithm(
        isa: Isa,
        algorithm: Algorithm,
        dims: &Conv2dDims,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<PreparedConv2d> {
        algorithm.check(OP, dims)?;
        check_len(OP, "weight", dims.weight_len(), weight.len())?;
        if let Some(bias) = bias {
            check_len(OP, "bias", dims.out_channels(), bias.len())?;
        }
        let form = match algorithm.tile() {
            None => Form::Direct(Direct::forward(isa, dims), weight.to_vec()),
            Some(tile) => Form::Winograd(
                Winograd::forward(isa, dims, tile),
                Weights::forward(tile, dims, weight),
            ),
        };
        let (bias, every) = (bias.map(<[f32]>::to_vec), every(dims));
        Ok(PreparedConv2d { dims: dims.with_batch(1)?, algorithm, form, bias, every })
    }

    /// The algorithm it runs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Bytes of the weights as the algorithm reads them: a pass reads those of live filters and channels.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        match &self.form {
            Form::Direct(_, weight) => size_of_val(weight.as_slice()),
            Form::Winograd(_, weights) => size_of_val(weights.data.as_slice()),
        }
    }

    /// One sample on the calling thread, without allocation after its first call on that thread.
    ///
    /// `filters` and `channels` list the live ones, ascending; `None` is all. `input` (C, H, W), `output`
    /// (F, OH, OW), overwritten.
    ///
    /// # Errors
    /// If a length does not fit the convolution, or a list is not ascending or names what does not exist.
    pub fn forward_sample(
        &self,
        filters: Option<&[u32]>,
        channels: Option<&[u32]>,
        input: &[f32],
        epilogue: Epilogue<'_>,
        output: &mut [f32],
    ) -> Result<()> {
        let dims = &self.dims;
        check_len(OP, "input", dims.input_len(), input.len())?;
        check_len(OP, "output", dims.output_len(), output.len())?;
        if let Some(residual) = epilogue.residual {
            check_len(OP, "residual", dims.output_len(), residual.len())?;
        }
        let sample = Sample {
            rows: self.list("filters", filters, dims.out_channels())?,
            channels: self.list("channels", channels, dims.in_channels())?,
            source: input,
            source_plane: dims.in_plane(),
            out_plane: dims.out_plane(),
            epilogue: SampleEpilogue {
                bias: self.bias.as_deref(),
                residual: epilogue.residual,
                relu: epilogue.relu,
            },
        };
        self.engine().sample(&sample, output);
        Ok(())
    }

    /// `batch` samples, on all threads: each sample on one, or if there are too few each on all.
    ///
    /// `input` (N, C, H, W), `output` (N, F, OH, OW), overwritten.
    ///
    /// # Errors
    /// If a length or a list does not fit the convolution and batch.
    pub fn forward(
        &self,
        batch: usize,
        live: Live<'_>,
        input: &[f32],
        epilogue: Epilogue<'_>,
        output: &mut [f32],
    ) -> Result<()> {
        let dims = self.dims.with_batch(batch)?;
        live.check(OP, &dims)?;
        check_len(OP, "input", dims.input_len(), input.len())?;
        check_len(OP, "output", dims.output_len(), output.len())?;
        if let Some(residual) = epilogue.residual {
            check_len(OP, "residual", dims.output_len(), residual.len())?;
        }
        let batch = Batch {
            bias: self.bias.as_deref(),
            residual: epilogue.residual,
            relu: epilogue.relu,
            ..Batch::forward(&dims, live, &self.every, input)
        };
        batch.run(&self.engine(), output);
        Ok(())
    }

    /// The list itself if it is one of `count`, all of them without a list.
    fn list<'a>(
        &'a self,
        list: &'static str,
        live: Option<&'a [u32]>,
        count: usize,
    ) -> Result<&'a [u32]> {
        let Some(live) = live else { return Ok(&self.every[..count]) };
        let ascending = live.windows(2).all(|pair| pair[0] < pair[1]);
        if ascending && live.last().is_none_or(|last| (*last as usize) < count) {
            return Ok(live);
        }
        let rule = "a live list must be ascending and below the number of filters or channels";
        Err(KernelError::Dims { op: OP, rule, got: format!("{list} {live:?} of {count}") })
    }

    fn engine(&self) -> Engine<'_> {
        match &self.form {
            Form::Direct(direct, weight) => Engine::Direct(direct, weight),
            Form::Winograd(winograd, weights) => Engine::Winograd(winograd, weights),
        }
    }
}
