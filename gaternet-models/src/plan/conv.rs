//! Convolutions of a plan: folded, without what is dropped, and masked where a plan does not skip.

use gaternet_core::Result;
use gaternet_core::nn::{BatchNorm2d, Conv2d};
use gaternet_kernels::cpu::conv2d::{Epilogue, Live, Method, PreparedConv2d};
use gaternet_kernels::{ActiveFilters, Conv2dDims, Isa};

use super::PlanOptions;
use super::kept::KeptSlot;
use super::op::relu;
use super::program::Samples;
use crate::network::ConvLayer;

/// A step's convolution on inputs (C, H, W).
pub(super) fn compile(
    isa: Isa,
    options: PlanOptions,
    layer: &ConvLayer,
    [channels, h, w]: [usize; 3],
    filters: Option<&KeptSlot>,
    kept_channels: Option<&KeptSlot>,
) -> Result<PreparedConv2d> {
    let (conv, of) = (&layer.conv, layer.conv.options());
    let input = [options.batch, channels, h, w];
    let dims = Conv2dDims::new(input, conv.shape(), of.stride, of.padding)?;
    let folded = match &layer.bn {
        Some((_, bn)) => fold(conv, bn),
        None => (conv.weight().tensor().data().to_vec(), vec![0.0; conv.shape()[0]]),
    };
    // The choice for all, so that dropping some does not change a bit.
    let method = Method::choose(options.dtype, &dims);
    prepare(isa, method, &dims, folded, filters, kept_channels)
}

/// Weight (F, C, KH, KW) and bias (F) of the convolution that is `bn(conv(x))` with the running statistics:
/// `weight · s` and `bias - mean · s` with `s = bn weight / sqrt(var + eps)`.
fn fold(conv: &Conv2d, bn: &BatchNorm2d) -> (Vec<f32>, Vec<f32>) {
    let (gamma, beta) = (bn.weight().tensor(), bn.bias().tensor());
    let (mean, var) = (bn.running_mean().tensor(), bn.running_var().tensor());
    let mut weight = conv.weight().tensor().data().to_vec();
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

/// The convolution with what is kept of its filters and its channels; `None` is all.
fn prepare(
    isa: Isa,
    method: Method,
    dims: &Conv2dDims,
    (mut weight, mut bias): (Vec<f32>, Vec<f32>),
    filters: Option<&KeptSlot>,
    channels: Option<&KeptSlot>,
) -> Result<PreparedConv2d> {
    let (taps, [h, w]) = (dims.taps(), dims.in_size());
    let mut channels_len = dims.in_channels();
    if let Some(KeptSlot { filters: channels, .. }) = channels {
        let filters = weight.chunks_exact(channels_len * taps);
        weight = filters.flat_map(|filter| gather(filter, taps, channels)).collect();
        channels_len = channels.len();
    }
    if let Some(KeptSlot { filters, compact: true }) = filters {
        weight = gather(&weight, channels_len * taps, filters);
        bias = gather(&bias, 1, filters);
    }
    let [kh, kw] = dims.kernel();
    let shape = [bias.len(), channels_len, kh, kw];
    let dims = Conv2dDims::new([1, channels_len, h, w], shape, dims.stride(), dims.padding())?;
    Ok(match filters {
        Some(KeptSlot { filters, compact: false }) => {
            PreparedConv2d::of_filters(isa, method, &dims, filters, &weight, Some(&bias))?
        }
        _ => PreparedConv2d::with_method(isa, method, &dims, &weight, Some(&bias))?,
    })
}

/// Numbers `kept` of the chunks of `len` values.
fn gather(values: &[f32], len: usize, kept: &[u32]) -> Vec<f32> {
    let chunk = |at: &u32| &values[*at as usize * len..(*at as usize + 1) * len];
    kept.iter().flat_map(chunk).copied().collect()
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
