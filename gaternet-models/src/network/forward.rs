//! Runs a network's steps on tensors, with gradients where they are asked for.

use gaternet_core::nn::Epilogue;
use gaternet_core::{Ctx, Result, Tensor, ops};

use super::gating::{ConvGating, Gating};
use super::{ConvLayer, Layer, Network, Step, Value};

/// The last step's output for `images` (N, C, H, W).
pub(super) fn run(
    network: &Network,
    images: &Tensor,
    gating: Option<Gating<'_>>,
    ctx: &mut Ctx,
) -> Result<Tensor> {
    // (N, C, H, W) or (N, C), as long as a later step reads it.
    let mut values = vec![Some(images.clone())];
    for (step, done) in network.steps.iter().zip(&network.done) {
        let output = forward(step, &values, gating, ctx)?;
        values.push(Some(output));
        done.iter().for_each(|value| values[*value] = None);
    }
    Ok(values.pop().flatten().unwrap_or_else(|| images.clone()))
}

fn forward(
    step: &Step,
    values: &[Option<Tensor>],
    gating: Option<Gating<'_>>,
    ctx: &mut Ctx,
) -> Result<Tensor> {
    let value =
        |value: Value| values[value.0].as_ref().expect("a value lives until its last reader");
    let x = value(step.inputs[0]);
    let residual = step.residual.map(value);
    let fused = Epilogue { gates: None, residual, relu: step.relu };
    let y = match &step.layer {
        Layer::Conv(layer) => return conv(layer, x, fused, gating, ctx),
        Layer::BatchNorm(_, bn) => return bn.forward(x, ctx, fused),
        Layer::Linear(_, linear) => linear.forward(x, ctx)?,
        Layer::Identity => x.clone(),
        Layer::MaxPool(options) => ops::max_pool2d(x, *options)?,
        Layer::AvgPool(options) => ops::avg_pool2d(x, *options)?,
        Layer::GlobalAvgPool => ops::global_avg_pool(x)?,
        Layer::Pad(padding) => ops::pad(x, *padding)?,
        Layer::Concat => ops::concat(&step.inputs.iter().copied().map(value).collect::<Vec<_>>())?,
        Layer::Sigmoid => ops::sigmoid(x)?,
        Layer::ScaleChannels => ops::gate(x, value(step.inputs[1]))?,
        Layer::Dropout(p) => ops::dropout(x, *p, ctx)?,
        Layer::ShakeShake => ops::shake_shake(x, value(step.inputs[1]), ctx)?,
    };
    finish(y, residual, step.relu)
}

/// `relu(gates · bn(conv(x)) + residual)`, or of a hidden convolution `gates · relu(bn(conv(x)))`.
fn conv(
    layer: &ConvLayer,
    x: &Tensor,
    Epilogue { residual, relu, .. }: Epilogue<'_>,
    gating: Option<Gating<'_>>,
    ctx: &Ctx,
) -> Result<Tensor> {
    let gates = gating.map_or(Ok(ConvGating::default()), |gating| gating.conv(layer.number))?;
    let y = layer.conv.forward_gated(x, ctx, gates.live)?;
    // A gate before the ReLU would get no gradient while it is off. Without gradients both are one.
    let (before, after) = match gates.values {
        Some(gates) if relu && residual.is_none() && ctx.tracks() => (None, Some(gates)),
        gates => (gates, None),
    };
    let y = match &layer.bn {
        Some((_, bn)) => {
            bn.forward(&y, ctx, Epilogue { gates: before.as_ref(), residual, relu })?
        }
        None => finish(gated(y, before.as_ref())?, residual, relu)?,
    };
    gated(y, after.as_ref())
}

fn gated(x: Tensor, gates: Option<&Tensor>) -> Result<Tensor> {
    gates.map_or(Ok(x.clone()), |gates| ops::gate(&x, gates))
}

/// `relu(y + residual)`.
fn finish(mut y: Tensor, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
    if let Some(residual) = residual {
        y = ops::add(&y, residual)?;
    }
    if relu { ops::relu(&y) } else { Ok(y) }
}
