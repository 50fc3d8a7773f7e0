//! What the steps of a plan compile to.

use gaternet_core::nn::BatchNorm2d;
use gaternet_core::{Result, Tensor};
use gaternet_kernels::PadDims;
use gaternet_kernels::cpu::conv2d::{Epilogue, Live, PreparedConv2d};
use gaternet_kernels::cpu::pad;
use gaternet_kernels::cpu::{
    avg_pool2d, batch_norm, elementwise, gate, global_avg_pool, linear, max_pool2d, sigmoid,
};
use gaternet_kernels::dims::PoolDims;
use gaternet_kernels::{ActiveFilters, Isa, LinearDims, PlaneDims};

use super::PlanOptions;
use super::conv;
use super::program::Samples;
use crate::gate_plan::ConvSlots;
use crate::kept::Kept;
use crate::network::{Layer, Step};

/// A compiled layer.
pub(super) enum Op {
    Conv(Box<PreparedConv2d>, ConvSlots),
    BatchNorm {
        norm: Norm,
        plane: usize,
    },
    Linear {
        dims: LinearDims,
        weight: Tensor,
        bias: Tensor,
    },
    /// For each sample alone.
    Single(Single),
}

/// A layer without weights, of one sample.
pub(super) enum Single {
    Identity,
    MaxPool(PoolDims),
    AvgPool(PoolDims),
    GlobalAvgPool(PlaneDims),
    Pad(PadDims),
    Concat,
    Sigmoid,
    ScaleChannels(PlaneDims),
    /// Of two.
    Mean,
}

/// The operands of an op for some samples; `inputs(i)` is the i-th.
pub(super) struct Operands<'a, I> {
    pub(super) samples: &'a Samples,
    pub(super) live: &'a [ActiveFilters],
    pub(super) inputs: I,
    pub(super) residual: Option<&'a [f32]>,
    pub(super) relu: bool,
    /// Leave planes of closed filters as they are.
    pub(super) leave_dead: bool,
    /// Compute closed filters and discard them.
    pub(super) masks: bool,
}

impl Op {
    /// `shapes` are those (C, H, W) of the network's values. Without `kept` no filter has a gate.
    pub(super) fn new(
        isa: Isa,
        options: PlanOptions,
        step: &Step,
        shapes: &[[usize; 3]],
        kept: Option<&Kept<'_>>,
    ) -> Result<Op> {
        let shape @ [channels, h, w] = shapes[step.inputs[0].0];
        let input = [1, channels, h, w];
        let planes = PlaneDims { batch: 1, channels, plane: h * w };
        Ok(Op::Single(match &step.layer {
            Layer::Conv(layer) => {
                let slots = kept.map(|kept| kept.listed(layer.number)).unwrap_or_default();
                let kept = kept.map(|kept| kept.conv(layer.number)).unwrap_or_default();
                let conv = conv::compile(isa, options, layer, shape, kept)?;
                return Ok(Op::Conv(conv.into(), slots));
            }
            Layer::BatchNorm(_, bn) => {
                return Ok(Op::BatchNorm { norm: Norm::new(bn), plane: h * w });
            }
            Layer::Linear(_, linear) => {
                let (weight, bias) = (linear.weight().tensor(), linear.bias().tensor());
                let [out_features, in_features] = [weight.dims()[0], weight.dims()[1]];
                let dims = LinearDims { batch: 1, in_features, out_features };
                return Ok(Op::Linear { dims, weight, bias });
            }
            Layer::Identity | Layer::Dropout(_) => Single::Identity,
            Layer::MaxPool(of) => {
                Single::MaxPool(PoolDims::new(input, of.kernel, of.stride, of.padding)?)
            }
            Layer::AvgPool(of) => {
                Single::AvgPool(PoolDims::new(input, of.kernel, of.stride, of.padding)?)
            }
            Layer::GlobalAvgPool => Single::GlobalAvgPool(planes),
            Layer::Pad(padding) => Single::Pad(PadDims::new(channels, [h, w], *padding)?),
            Layer::Concat => Single::Concat,
            Layer::Sigmoid => Single::Sigmoid,
            Layer::ScaleChannels => Single::ScaleChannels(planes),
            Layer::ShakeShake => Single::Mean,
        }))
    }

    /// Bytes of the weights as they are laid out, without biases.
    pub(super) fn weight_bytes(&self) -> usize {
        match self {
            Op::Conv(conv, _) => conv.weight_bytes(),
            Op::Linear { weight, .. } => size_of_val(weight.data()),
            Op::BatchNorm { .. } | Op::Single(_) => 0,
        }
    }

    /// `relu(op(inputs) + residual)` of some samples; `output` and what `inputs` returns are
    /// (samples, ...).
    pub(super) fn run<'a>(
        &self,
        isa: Isa,
        operands: &Operands<'a, impl Fn(usize) -> &'a [f32] + Sync>,
        output: &mut [f32],
    ) -> Result<()> {
        let Operands { samples, live, inputs, residual, relu, leave_dead, masks } = operands;
        let (input, residual, count) = (inputs(0), *residual, samples.count());
        match self {
            Op::Conv(conv, slots) => {
                let list = |slot: Option<usize>| slot.map(|slot| &live[slot]);
                let (filters, channels) = (list(slots.filters), list(slots.channels));
                let all = Live::default();
                let epilogue = Epilogue { residual, relu: *relu, leave_dead: *leave_dead };
                match filters {
                    _ if !masks => {
                        let live = Live { filters, channels };
                        conv::convolve(conv, samples, live, input, epilogue, output)?;
                    }
                    None => conv::convolve(conv, samples, all, input, epilogue, output)?,
                    Some(filters) => {
                        conv::convolve(conv, samples, all, input, Epilogue::default(), output)?;
                        conv::mask(samples, filters, epilogue, output)?;
                    }
                }
            }
            Op::BatchNorm { norm, plane } => {
                let dims = PlaneDims { batch: count, channels: norm.mean.len(), plane: *plane };
                norm.forward(isa, dims, residual, *relu, input, output)?;
            }
            Op::Linear { dims, weight, bias } => {
                // A product of one row may sum in another order than that of many: always one.
                samples.try_for_each(dims.out_features, output, |n, output| {
                    let input = &input[n * dims.in_features..(n + 1) * dims.in_features];
                    linear::forward(*dims, input, weight.data(), Some(bias.data()), output)?;
                    Ok(())
                })?;
                finish(isa, residual, *relu, output)?;
            }
            Op::Single(op) => {
                let len = output.len() / count;
                samples.try_for_each(len, output, |n, output| {
                    let sample = |values: &'a [f32]| {
                        let len = values.len() / count;
                        &values[n * len..(n + 1) * len]
                    };
                    op.run(isa, |i| sample(inputs(i)), output)?;
                    finish(isa, residual.map(sample), *relu, output)
                })?;
            }
        }
        Ok(())
    }
}

impl Single {
    fn run<'a>(
        &self,
        isa: Isa,
        inputs: impl Fn(usize) -> &'a [f32],
        output: &mut [f32],
    ) -> Result<()> {
        let input = inputs(0);
        match self {
            Single::Identity => output.copy_from_slice(input),
            Single::MaxPool(dims) => max_pool2d::forward(isa, dims, input, output)?,
            Single::AvgPool(dims) => avg_pool2d::forward(isa, dims, input, output)?,
            Single::GlobalAvgPool(dims) => global_avg_pool::forward(isa, *dims, input, output)?,
            Single::Pad(dims) => pad::forward(dims, input, output)?,
            Single::Concat => {
                let (mut next, mut rest) = (0, output);
                while !rest.is_empty() {
                    let (part, after) = rest.split_at_mut(inputs(next).len());
                    part.copy_from_slice(inputs(next));
                    (next, rest) = (next + 1, after);
                }
            }
            Single::Sigmoid => sigmoid::forward(input, output)?,
            Single::ScaleChannels(dims) => gate::forward(isa, *dims, input, inputs(1), output)?,
            Single::Mean => {
                elementwise::add(isa, input, inputs(1), output)?;
                output.iter_mut().for_each(|y| *y *= 0.5);
            }
        }
        Ok(())
    }
}

/// `relu(y + residual)` in place.
fn finish(isa: Isa, residual: Option<&[f32]>, rectify: bool, y: &mut [f32]) -> Result<()> {
    if let Some(residual) = residual {
        elementwise::add_assign(isa, y, residual)?;
    }
    if rectify {
        y.iter_mut().for_each(|y| *y = relu(*y));
    }
    Ok(())
}

/// NaN passes through.
pub(super) fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

/// A batch norm that follows no convolution, each (C).
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: f32,
}

impl Norm {
    fn new(bn: &BatchNorm2d) -> Norm {
        Norm {
            weight: bn.weight().tensor(),
            bias: bn.bias().tensor(),
            mean: bn.running_mean().tensor(),
            var: bn.running_var().tensor(),
            eps: bn.eps(),
        }
    }

    fn forward(
        &self,
        isa: Isa,
        dims: PlaneDims,
        residual: Option<&[f32]>,
        relu: bool,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        let Norm { weight, bias, mean, var, eps } = self;
        let affine = batch_norm::Affine { weight: weight.data(), bias: bias.data(), eps: *eps };
        let epilogue = batch_norm::Epilogue { residual, relu, ..Default::default() };
        let (mean, var) = (mean.data(), var.data());
        Ok(batch_norm::forward_eval(isa, dims, affine, epilogue, mean, var, x, y)?)
    }
}
