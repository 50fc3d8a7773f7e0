//! The time of one call.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use gaternet::core::{Ctx, Tensor};
use gaternet::kernels::DType;
use gaternet::kernels::cpu::conv2d::{self, Algorithm, Epilogue, Live, Method, PreparedConv2d};
use gaternet::kernels::{Conv2dDims, Isa};

use crate::conv_layers::{Gates, Gating, Layer};

/// Runs of which the median is taken.
const RUNS: usize = 9;

/// What a layer computes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Op {
    /// The output
    Forward,
    /// The gradient of the input
    BackwardInput,
    /// The gradient of the weights
    BackwardWeight,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_possible_value().as_ref().map_or("", PossibleValue::get_name))
    }
}

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
    /// `rotate` is the size of all of `data` together, in bytes, rounded up to a whole number of it.
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

    /// Median seconds of a call with each of `cases`. A run takes about `run` and passes over all lists
    /// of its case equally often. The cases take turns, so that what disturbs the machine for a while
    /// disturbs their ratios little.
    pub(crate) fn seconds(&mut self, cases: &[Vec<Gates>], run: Duration) -> Result<Vec<f64>> {
        let mut rounds = Vec::with_capacity(cases.len());
        for gates in cases {
            let start = Instant::now();
            let mut count = 0;
            while count == 0 || start.elapsed() < run {
                self.round(gates)?;
                count += 1;
            }
            rounds.push(count);
        }
        let mut seconds = vec![[0.0; RUNS]; cases.len()];
        for i in 0..RUNS {
            for ((gates, &rounds), seconds) in cases.iter().zip(&rounds).zip(&mut seconds) {
                let start = Instant::now();
                for _ in 0..rounds {
                    self.round(gates)?;
                }
                seconds[i] = start.elapsed().as_secs_f64() / (rounds * gates.len()) as f64;
            }
        }
        let median = |mut seconds: [f64; RUNS]| {
            seconds.sort_by(f64::total_cmp);
            seconds[RUNS / 2]
        };
        Ok(seconds.into_iter().map(median).collect())
    }

    fn round(&mut self, gates: &[Gates]) -> Result<()> {
        gates.iter().try_for_each(|gates| self.call(gates.live()))
    }

    fn call(&mut self, live: Live<'_>) -> Result<()> {
        let data = self.data[self.calls % self.data.len()].data();
        let other = self.other[self.calls % self.other.len()].data();
        self.calls += 1;
        let (isa, dims, result) = (self.isa, &self.dims, &mut self.result);
        Ok(match self.op {
            Op::Forward => {
                self.prepared.forward(dims.batch(), live, data, Epilogue::default(), result)
            }
            Op::BackwardInput => {
                let algorithm = Algorithm::choose(dims);
                conv2d::backward_input(isa, algorithm, dims, live, data, other, result)
            }
            Op::BackwardWeight => {
                let gated = live.filters.is_some() || live.channels.is_some();
                let algorithm = Algorithm::choose_for_weight(dims, gated);
                conv2d::backward_weight(isa, algorithm, dims, live, data, other, result)
            }
        }?)
    }
}
