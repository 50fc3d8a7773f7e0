//! Both forward passes.

use super::{Affine, Channel, Epilogue, check, check_samples, elements};
use crate::cpu::isa::{Isa, dispatch};
use crate::cpu::lanes::Lanes;
use crate::cpu::parallel::{for_runs, for_tasks};
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::PlaneDims;
use crate::error::Result;

/// y (N, C, H, W) with the statistics of this batch, which are written to `mean` and `var` (C);
/// `var` is the biased variance.
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
    let (y, mean, var) = (&SharedSlice::new(y), SharedSlice::new(mean), SharedSlice::new(var));
    for_tasks(dims.channels, dims.batch * dims.plane, |c| {
        let (affine, epilogue) = (&affine, &epilogue);
        let (m, v) = dispatch!(isa, train_channel(
            dims: PlaneDims, c: usize, affine: &Affine, epilogue: &Epilogue, x: &[f32],
            y: &SharedSlice,
        ) -> (f32, f32));
        // SAFETY: only this task touches channel `c`.
        unsafe {
            mean.set(c, m);
            var.set(c, v);
        }
    });
    Ok(())
}

/// y (N, C, H, W) with given statistics `mean` and `var` (C).
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
    let channel = |c| Channel::new(&affine, c, mean[c], var[c]);
    let channels: Vec<Channel> = (0..dims.channels).map(channel).collect();
    let (channels, epilogue) = (channels.as_slice(), &epilogue);
    for_runs(y, dims.plane, dims.plane, |planes, y| {
        let first = planes.start;
        dispatch!(isa, eval_planes(
            dims: PlaneDims, first: usize, channels: &[Channel], epilogue: &Epilogue, x: &[f32],
            y: &mut [f32],
        ));
    });
    Ok(())
}

#[inline(always)]
fn train_channel(
    dims: PlaneDims,
    c: usize,
    affine: &Affine,
    epilogue: &Epilogue,
    x: &[f32],
    y: &SharedSlice,
) -> (f32, f32) {
    let (mean, var) = stats(dims, c, x);
    let channel = Channel::new(affine, c, mean, var);
    for plane in (c..dims.batch * dims.channels).step_by(dims.channels) {
        let at = elements(dims, plane);
        // SAFETY: only this task touches the planes of channel `c`, one after the other.
        let y = unsafe { y.part(at.clone()) };
        let residual = epilogue.residual.map(|residual| &residual[at.clone()]);
        normalise(channel, epilogue.gate(plane), residual, epilogue.relu, &x[at], y);
    }
    (mean, var)
}

#[inline(always)]
fn eval_planes(
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
        normalise(channel, epilogue.gate(plane), residual, epilogue.relu, &x[at], y);
    }
}

/// One plane.
#[inline(always)]
fn normalise(
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

/// Elements summed in f32 before f64 takes over.
const BLOCK: usize = 4096;
/// Planes summed in f32 before f64 takes over: small ones fill the first lanes only.
const BLOCK_PLANES: usize = 64;

/// Mean and biased variance of channel `c`.
///
/// Reads x once: blocks are summed around the mean of all before them, and merged in f64 (Chan,
/// Golub and LeVeque). A block's rounding is relative to its distance from that mean, which the
/// variance contains, so nothing cancels; only the first block is read twice, for a mean to start
/// with.
#[inline(always)]
fn stats(dims: PlaneDims, c: usize, x: &[f32]) -> (f32, f32) {
    let (mut count, mut mean, mut m2) = (0.0f64, 0.0f64, 0.0f64);
    let group = (BLOCK / dims.plane).clamp(1, BLOCK_PLANES);
    for first in (0..dims.batch).step_by(group) {
        let samples = first..dims.batch.min(first + group);
        // A plane longer than a block is a group of its own, cut into blocks.
        for start in (0..dims.plane).step_by(BLOCK) {
            let end = dims.plane.min(start + BLOCK);
            let block = samples.clone().map(|n| {
                let at = elements(dims, n * dims.channels + c);
                &x[at.start + start..at.start + end]
            });
            let size = (samples.len() * (end - start)) as f64;
            if count == 0.0 {
                let mut lanes = Lanes::new();
                block.clone().for_each(|x| lanes.add([x], |[x]| [x]));
                mean = lanes.totals()[0] / size;
            }
            let shift = mean as f32;
            let mut lanes = Lanes::new();
            for x in block {
                lanes.add([x], |[x]| [x - shift, (x - shift) * (x - shift)]);
            }
            let [sum, squares] = lanes.totals();
            let block_mean = f64::from(shift) + sum / size;
            let distance = block_mean - mean;
            m2 += squares - sum * sum / size + distance * distance * size * count / (count + size);
            mean += distance * size / (count + size);
            count += size;
        }
    }
    (mean as f32, (m2 / count).max(0.0) as f32)
}
