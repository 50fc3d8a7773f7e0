//! The forward passes of training and of evaluation.

use super::{Affine, Channel, Epilogue, check, check_samples, elements};
use crate::cpu::isa::{Isa, dispatch};
use crate::cpu::parallel::for_runs;
use crate::cpu::reduce::{BLOCK, LANES, sums_around, total};
use crate::dims::PlaneDims;
use crate::error::Result;

/// Computes y (N, C, H, W) of x (N, C, H, W) with the statistics of this batch, which are written
/// to `mean` and `var` (C); `var` is the biased variance.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims` or a channel has no value.
#[allow(clippy::too_many_arguments)]
pub fn forward_train(
    isa: Isa,
    dims: PlaneDims,
    affine: Affine,
    epilogue: Epilogue,
    x: &[f32],
    y: &mut [f32],
    mean: &mut [f32],
    var: &mut [f32],
) -> Result<()> {
    let op = "batch_norm::forward_train";
    let stats = [("mean", mean.len()), ("var", var.len())];
    check(op, dims, &affine, &epilogue, &stats, &[("x", x.len()), ("y", y.len())])?;
    check_samples(op, dims)?;
    let mut planes = vec![Moments::default(); dims.batch * dims.channels];
    for_runs(&mut planes, 1, dims.plane, |run, moments| {
        let (plane, x) = (dims.plane, &x[run.start * dims.plane..run.end * dims.plane]);
        dispatch!(isa, plane_moments(isa: Isa, plane: usize, x: &[f32], moments: &mut [Moments]));
    });
    merge(dims, &planes, mean, var);
    normalise(isa, dims, &affine, &epilogue, mean, var, x, y);
    Ok(())
}

/// Computes y (N, C, H, W) of x (N, C, H, W) with given statistics `mean` and `var` (C).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
#[allow(clippy::too_many_arguments)]
pub fn forward_eval(
    isa: Isa,
    dims: PlaneDims,
    affine: Affine,
    epilogue: Epilogue,
    mean: &[f32],
    var: &[f32],
    x: &[f32],
    y: &mut [f32],
) -> Result<()> {
    let stats = [("mean", mean.len()), ("var", var.len())];
    let whole = [("x", x.len()), ("y", y.len())];
    check("batch_norm::forward_eval", dims, &affine, &epilogue, &stats, &whole)?;
    normalise(isa, dims, &affine, &epilogue, mean, var, x, y);
    Ok(())
}

/// The mean of some values, and the sum of their squared distances from it.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    mean: f64,
    m2: f64,
}

#[inline(always)]
fn plane_moments(isa: Isa, plane: usize, x: &[f32], moments: &mut [Moments]) {
    for (x, moments) in x.chunks_exact(plane).zip(moments) {
        let (first, rest) = x.split_at(plane.min(BLOCK));
        *moments = block_moments(isa, first);
        let mut count = first.len() as f64;
        for x in rest.chunks(BLOCK) {
            // Chan, Golub and LeVeque's merge.
            let (size, block) = (x.len() as f64, block_moments(isa, x));
            let distance = block.mean - moments.mean;
            moments.m2 += block.m2 + distance * distance * size * count / (count + size);
            moments.mean += distance * size / (count + size);
            count += size;
        }
    }
}

/// Returns the moments of a block from sums around the mean of its first lanes. That is within m2 /
/// LANES of the mean of all, squared, so rounding is relative to m2 however far from 0 the values
/// are.
#[inline(always)]
fn block_moments(isa: Isa, x: &[f32]) -> Moments {
    let shift = match x.first_chunk() {
        Some(first) => (total(*first) / LANES as f64) as f32,
        None => x.iter().sum::<f32>() / x.len() as f32,
    };
    let [sum, squares] = sums_around(isa, shift, x);
    let from_shift = sum / x.len() as f64;
    Moments { mean: f64::from(shift) + from_shift, m2: (squares - sum * from_shift).max(0.0) }
}

/// Computes the mean and biased variance of each channel from the moments of its planes.
fn merge(dims: PlaneDims, planes: &[Moments], mean: &mut [f32], var: &mut [f32]) {
    let (samples, plane) = (dims.batch as f64, dims.plane as f64);
    let mut centres = vec![0.0; dims.channels];
    for sample in planes.chunks_exact(dims.channels.max(1)) {
        centres.iter_mut().zip(sample).for_each(|(sum, plane)| *sum += plane.mean);
    }
    centres.iter_mut().for_each(|sum| *sum /= samples);
    let mut m2 = vec![0.0; dims.channels];
    for sample in planes.chunks_exact(dims.channels.max(1)) {
        for ((m2, moments), centre) in m2.iter_mut().zip(sample).zip(&centres) {
            let distance = moments.mean - centre;
            *m2 += moments.m2 + distance * distance * plane;
        }
    }
    mean.iter_mut().zip(centres).for_each(|(mean, centre)| *mean = centre as f32);
    var.iter_mut().zip(m2).for_each(|(var, m2)| *var = (m2 / (samples * plane)) as f32);
}

#[allow(clippy::too_many_arguments)]
fn normalise(
    isa: Isa,
    dims: PlaneDims,
    affine: &Affine,
    epilogue: &Epilogue,
    mean: &[f32],
    var: &[f32],
    x: &[f32],
    y: &mut [f32],
) {
    let channels = Channel::all(affine, mean, var);
    for_runs(y, dims.plane, dims.plane, |run, y| {
        let (first, channels) = (run.start, channels.as_slice());
        dispatch!(isa, normalise_planes(
            dims: PlaneDims, first: usize, channels: &[Channel], epilogue: &Epilogue, x: &[f32],
            y: &mut [f32],
        ));
    });
}

#[inline(always)]
fn normalise_planes(
    dims: PlaneDims,
    first: usize,
    channels: &[Channel],
    epilogue: &Epilogue,
    x: &[f32],
    y: &mut [f32],
) {
    for (i, y) in y.chunks_exact_mut(dims.plane).enumerate() {
        let plane = first + i;
        let channel = channels[plane % dims.channels];
        let at = elements(dims, plane);
        let residual = epilogue.residual.map(|residual| &residual[at.clone()]);
        normalise_plane(channel, epilogue.gate(plane), residual, epilogue.relu, &x[at], y);
    }
}

#[inline(always)]
fn normalise_plane(
    channel: Channel,
    gate: f32,
    residual: Option<&[f32]>,
    relu: bool,
    x: &[f32],
    y: &mut [f32],
) {
    let Channel { mean, scale, bias, .. } = channel;
    let rectified = |v: f32| if v <= 0.0 { 0.0 } else { v };
    let gated = |x: f32| ((x - mean) * scale + bias) * gate;
    match (gate == 0.0, residual, relu) {
        (true, None, _) => y.fill(0.0),
        // As a sum, because 0 + -0 is 0: the same bits as masking.
        (true, Some(residual), false) => {
            y.iter_mut().zip(residual).for_each(|(y, r)| *y = 0.0 + r);
        }
        (true, Some(residual), true) => {
            y.iter_mut().zip(residual).for_each(|(y, r)| *y = rectified(*r));
        }
        (false, None, false) => y.iter_mut().zip(x).for_each(|(y, x)| *y = gated(*x)),
        (false, None, true) => y.iter_mut().zip(x).for_each(|(y, x)| *y = rectified(gated(*x))),
        (false, Some(residual), false) => {
            y.iter_mut().zip(x).zip(residual).for_each(|((y, x), r)| *y = gated(*x) + r);
        }
        (false, Some(residual), true) => {
            y.iter_mut().zip(x).zip(residual).for_each(|((y, x), r)| *y = rectified(gated(*x) + r));
        }
    }
}
