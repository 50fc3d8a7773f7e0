//! Convolutions of a plan: folded, without what is dropped, and masked where a plan does not skip.

use gaternet_core::Result;
use gaternet_kernels::cpu::conv2d::{Epilogue, Live, Method, PreparedConv2d};
use gaternet_kernels::{ActiveFilters, Conv2dDims, Isa};

use super::PlanOptions;
use super::op::relu;
use super::program::Samples;
use crate::kept::{KeptConv, KeptSlot};
use crate::network::ConvLayer;

/// A step's convolution on inputs (C, H, W).
pub(super) fn compile(
    isa: Isa,
    options: PlanOptions,
    layer: &ConvLayer,
    [channels, h, w]: [usize; 3],
    kept: KeptConv<'_>,
) -> Result<PreparedConv2d> {
    let (conv, of) = (&layer.conv, layer.conv.options());
    let input = [options.batch, channels, h, w];
    let dims = Conv2dDims::new(input, conv.shape(), of.stride, of.padding)?;
    // The choice for all, so that dropping some does not change a bit.
    let method = Method::choose(options.dtype, &dims);
    prepare(isa, method, &dims, fold(layer), kept)
}

/// Weight (F, C, KH, KW) and bias (F) of the convolution that is `bn(conv(x))` with the running statistics:
/// `weight · s` and `bias - mean · s` with `s = bn weight / sqrt(var + eps)`.
pub(crate) fn fold(layer: &ConvLayer) -> (Vec<f32>, Vec<f32>) {
    let mut weight = layer.conv.weight().tensor().data().to_vec();
    let Some((_, bn)) = &layer.bn else { return (weight, vec![0.0; layer.conv.shape()[0]]) };
    let (gamma, beta) = (bn.weight().tensor(), bn.bias().tensor());
    let (mean, var) = (bn.running_mean().tensor(), bn.running_var().tensor());
    let filter_len = weight.len() / beta.len();
    let mut bias = beta.data().to_vec();
    for (filter, (weights, bias)) in weight.chunks_exact_mut(filter_len).zip(&mut bias).enumerate()
    {
        let deviation = (f64::from(var.data()[filter]) + f64::from(bn.eps())).sqrt();
        let scale = f64::from(gamma.data()[filter]) / deviation;
        weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
        *bias = (f64::from(*bias) - f64::from(mean.data()[filter]) * scale) as f32;
    }
    (weight, bias)
}

/// The convolution with what is kept of its filters and its channels.
fn prepare(
    isa: Isa,
    method: Method,
    dims: &Conv2dDims,
    (weight, bias): (Vec<f32>, Vec<f32>),
    kept: KeptConv<'_>,
) -> Result<PreparedConv2d> {
    let ([h, w], [kh, kw]) = (dims.in_size(), dims.kernel());
    let weight = kept.weight(&weight, dims.in_channels(), dims.taps());
    let bias = kept.per_filter(&bias, 1);
    let [filters, channels] = kept.sizes([dims.out_channels(), dims.in_channels()]);
    let shape = [filters, channels, kh, kw];
    let dims = Conv2dDims::new([1, channels, h, w], shape, dims.stride(), dims.padding())?;
    Ok(match kept.filters {
        Some(KeptSlot { filters, compact: false, .. }) => {
            PreparedConv2d::of_filters(isa, method, &dims, filters, &weight, Some(&bias))?
        }
        _ => PreparedConv2d::with_method(isa, method, &dims, &weight, Some(&bias))?,
    })
}

pub(super) fn convolve(
    conv: &PreparedConv2d,
    samples: &Samples,
    live: Live<'_>,
    input: &[f32],
    epilogue: Epilogue<'_>,
    output: &mut [f32],
) -> Result<()> {
    match samples {
        Samples::Some(range) => conv.forward_here(range.clone(), live, input, epilogue, output)?,
        Samples::All(count) => conv.forward(*count, live, input, epilogue, output)?,
    }
    Ok(())
}

/// `relu(gate · output + residual)`, where the gate of a filter is 1 if it is live, else 0.
pub(super) fn mask(
    samples: &Samples,
    live: &ActiveFilters,
    epilogue: Epilogue<'_>,
    output: &mut [f32],
) -> Result<()> {
    let len = output.len() / samples.count();
    let first = match samples {
        Samples::Some(range) => range.start,
        Samples::All(_) => 0,
    };
    samples.try_for_each(len, output, |sample, output| {
        let n = first + sample;
        let plane = len / live.filters();
        for (filter, output) in output.chunks_exact_mut(plane).enumerate() {
            if live.row(n).binary_search(&(filter as u32)).is_err() {
                output.fill(0.0);
            }
            if let Some(residual) = epilogue.residual {
                let at = sample * len + filter * plane;
                output.iter_mut().zip(&residual[at..]).for_each(|(y, r)| *y += r);
            }
            if epilogue.relu {
                output.iter_mut().for_each(|y| *y = relu(*y));
            }
        }
        Ok(())
    })
}
