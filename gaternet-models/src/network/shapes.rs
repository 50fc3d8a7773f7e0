//! Sizes of a network's values for one size of images.

use gaternet_core::{Error, Result, Shape};
use gaternet_kernels::Conv2dDims;
use gaternet_kernels::PadDims;
use gaternet_kernels::dims::PoolDims;

use super::{Layer, Network, Step};

const OP: &str = "network";
/// Most multiply-accumulates of a layer for one image: sums of them are exact in f64, and those of
/// all layers of a network do not overflow.
const MAX_MACS: usize = 1 << 53;

/// (C, H, W) of the images and of each step's output.
pub(super) fn infer(network: &Network, [h, w]: [usize; 2]) -> Result<Vec<[usize; 3]>> {
    let mut shapes = vec![[network.channels, h, w]];
    fits([network.channels, h, w])?;
    for step in &network.steps {
        let shape = output(step, &shapes)?;
        fits(shape)?;
        if let Some(residual) = step.residual.map(|value| shapes[value.0]) {
            same("a step and its residual must have one shape", shape, residual)?;
        }
        shapes.push(shape);
    }
    Ok(shapes)
}

fn output(step: &Step, shapes: &[[usize; 3]]) -> Result<[usize; 3]> {
    let input = |i: usize| shapes[step.inputs[i].0];
    let [channels, h, w] = input(0);
    Ok(match &step.layer {
        Layer::Conv(layer) => {
            let options = layer.conv.options();
            let shape = layer.conv.shape();
            let dims =
                Conv2dDims::new([1, channels, h, w], shape, options.stride, options.padding)?;
            let [oh, ow] = dims.out_size();
            let macs = [dims.weight_len(), oh, ow].into_iter().try_fold(1, usize::checked_mul);
            if macs.is_none_or(|macs| macs > MAX_MACS) {
                let rule = "a layer must take at most 2^53 multiply-accumulates for one image";
                let got = format!("{} for images of {:?}", layer.name, &shapes[0][1..]);
                return Err(Error::Shape { op: OP, rule, got });
            }
            [dims.out_channels(), oh, ow]
        }
        Layer::MaxPool(options) | Layer::AvgPool(options) => {
            let input = [1, channels, h, w];
            let dims = PoolDims::new(input, options.kernel, options.stride, options.padding)?;
            let [oh, ow] = dims.out_size();
            [channels, oh, ow]
        }
        Layer::Pad(padding) => {
            let [oh, ow] = PadDims::new(channels, [h, w], *padding)?.out_size();
            [channels, oh, ow]
        }
        Layer::Concat => {
            for i in 1..step.inputs.len() {
                let [other, oh, ow] = input(i);
                same("maps side by side must have one size", [other, h, w], [other, oh, ow])?;
            }
            [step.channels, h, w]
        }
        Layer::ShakeShake => {
            same("both branches must have one shape", [channels, h, w], input(1))?;
            [channels, h, w]
        }
        Layer::ScaleChannels => {
            same("the factors must be (N, C)", [channels, 1, 1], input(1))?;
            [channels, h, w]
        }
        Layer::GlobalAvgPool | Layer::Linear(..) => [step.channels, 1, 1],
        Layer::BatchNorm(..) | Layer::Identity | Layer::Sigmoid | Layer::Dropout(_) => {
            [channels, h, w]
        }
    })
}

fn fits(shape: [usize; 3]) -> Result<()> {
    if Shape::from(shape).elements().is_some() {
        return Ok(());
    }
    let rule = "the values of one image must fit in the address space";
    Err(Error::Shape { op: OP, rule, got: format!("{shape:?}") })
}

fn same(rule: &'static str, one: [usize; 3], other: [usize; 3]) -> Result<()> {
    if one == other {
        return Ok(());
    }
    Err(Error::Shape { op: OP, rule, got: format!("{one:?} and {other:?}") })
}
