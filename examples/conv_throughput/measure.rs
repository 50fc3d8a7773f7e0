//! The time of one call.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;
use gaternet::cli::conv_layers::{Gates, Gating, Layer, Op};
use gaternet::cli::timing::median_seconds;
use gaternet::core::{Ctx, Tensor};
use gaternet::kernels::DType;
use gaternet::kernels::cpu::conv2d::{self, Active, Algorithm, Epilogue, Method, PreparedConv2d};
use gaternet::kernels::{Conv2dDims, Isa};

/// One op of one layer, with normal noise for operands and room for the result.
pub(crate) struct Convolution {
    isa: Isa,
    dims: Conv2dDims,
    op: Op,
    /// How an inference runs the layer; the gradients prepare their weights in every call.
    prepared: PreparedConv2d,
    /// The input, or the gradient of the output in `BackwardInput`: another one for every call.
    data: Vec<Tensor>,
    /// The weights, or one gradient of the output for every input in `BackwardWeight`.
    other: Vec<Tensor>,
    result: Vec<f32>,
    calls: usize,
}

impl Convolution {
    /// `rotate` is the size of all of `data` together, in bytes, rounded up to a whole number of
    /// it.
    pub(crate) fn new(
        layer: Layer,
        batch: usize,
        (op, dtype): (Op, DType),
        rotate: usize,
    ) -> Result<Convolution> {
        let dims = layer.dims(batch)?;
        let [input, weight, output] = [dims.input_len(), dims.weight_len(), dims.output_len()];
        let [data, other, result] = match op {
            Op::Forward => [input, weight, output],
            Op::BackwardInput => [output, weight, input],
            Op::BackwardWeight => [input, output, weight],
        };
        let mut random = Ctx::train(0);
        let mut noise = |len, std| Tensor::randn([len], std, random.rng());
        let copies = rotate.div_ceil(data * size_of::<f32>()).max(1);
        let (other_copies, other_std) = match op {
            Op::Forward | Op::BackwardInput => (1, layer.weight_std()),
            Op::BackwardWeight => (copies, 1.0),
        };
        let isa = Isa::current()?;
        let weights = noise(weight, layer.weight_std())?;
        let method = Method::choose(dtype, &dims);
        Ok(Convolution {
            isa,
            dims,
            op,
            prepared: PreparedConv2d::with_method(isa, method, &dims, weights.data(), None)?,
            data: (0..copies).map(|_| noise(data, 1.0)).collect::<Result<_, _>>()?,
            other: (0..other_copies).map(|_| noise(other, other_std)).collect::<Result<_, _>>()?,
            result: vec![0.0; result],
            calls: 0,
        })
    }

    /// The way the library computes it with these gates.
    pub(crate) fn algorithm(&self, gating: Gating) -> Algorithm {
        match self.op {
            Op::Forward => self.prepared.method().algorithm,
            Op::BackwardInput => Algorithm::choose(&self.dims),
            Op::BackwardWeight => Algorithm::choose_for_weight(&self.dims, gating != Gating::None),
        }
    }

    /// Median seconds of a call with each of `cases`. A run takes about `run` and passes over all
    /// lists of its case equally often.
    pub(crate) fn seconds(&mut self, cases: &[Vec<Gates>], run: Duration) -> Result<Vec<f64>> {
        let convolution = RefCell::new(self);
        let mut rounds = Vec::with_capacity(cases.len());
        for gates in cases {
            rounds.push(|| convolution.borrow_mut().round(gates));
        }
        let seconds = median_seconds(&mut rounds, run)?.into_iter().zip(cases);
        Ok(seconds.map(|(round, gates)| round / gates.len() as f64).collect())
    }

    fn round(&mut self, gates: &[Gates]) -> Result<()> {
        gates.iter().try_for_each(|gates| self.call(gates.active()))
    }

    fn call(&mut self, active: Active<'_>) -> Result<()> {
        let data = self.data[self.calls % self.data.len()].data();
        let other = self.other[self.calls % self.other.len()].data();
        self.calls += 1;
        let (isa, dims, result) = (self.isa, &self.dims, &mut self.result);
        Ok(match self.op {
            Op::Forward => {
                self.prepared.forward(dims.batch(), active, data, Epilogue::default(), result)
            }
            Op::BackwardInput => {
                let algorithm = Algorithm::choose(dims);
                conv2d::backward_input(isa, algorithm, dims, active, data, other, result)
            }
            Op::BackwardWeight => {
                let gated = active.filters.is_some() || active.channels.is_some();
                let algorithm = Algorithm::choose_for_weight(dims, gated);
                conv2d::backward_weight(isa, algorithm, dims, active, data, other, result)
            }
        }?)
    }
}
