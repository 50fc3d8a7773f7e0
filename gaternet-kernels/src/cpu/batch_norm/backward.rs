//! The backward pass of training and of evaluation.

use super::{Affine, Channel, Epilogue, check, check_samples, elements};
use std::ops::Range;

use crate::cpu::isa::{Isa, dispatch};
use crate::cpu::parallel::for_runs;
use crate::cpu::reduce::{BLOCK, sums_along};
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::PlaneDims;
use crate::error::{Result, check_len};

/// The slices that the forward pass read and wrote.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// The input of the forward pass, (N, C, H, W).
    pub x: &'a [f32],
    /// The output of the forward pass, (N, C, H, W), which tells where the ReLU passed its input
    /// on.
    pub y: &'a [f32],
    /// The mean that x was normalised with, (C).
    pub mean: &'a [f32],
    /// The biased variance that x was normalised with, (C).
    pub var: &'a [f32],
    /// Whether mean and variance are those of x itself, so that the gradient flows through them
    /// too.
    pub batch_stats: bool,
}

/// The gradients that are wanted; each is overwritten.
#[derive(Debug, Default)]
pub struct Grads<'a> {
    /// The gradient of x, (N, C, H, W).
    pub x: Option<&'a mut [f32]>,
    /// The gradient of the weight, (C).
    pub weight: Option<&'a mut [f32]>,
    /// The gradient of the bias, (C).
    pub bias: Option<&'a mut [f32]>,
    /// The gradient of the gates, (N, C): the sum of `grad_a·z` over the plane, also where a gate
    /// is 0.
    pub gates: Option<&'a mut [f32]>,
    /// The gradient of the residual, (N, C, H, W).
    pub residual: Option<&'a mut [f32]>,
}

/// Computes the gradients of [`forward_train`](super::forward_train) or
/// [`forward_eval`](super::forward_eval) from `grad_y` (N, C, H, W). The values of
/// `epilogue.residual` are not read.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`, or with `batch_stats` a
/// channel has no value.
pub fn backward(
    isa: Isa,
    dims: PlaneDims,
    affine: Affine,
    epilogue: Epilogue,
    saved: Saved,
    grad_y: &[f32],
    grads: Grads,
) -> Result<()> {
    let op = "batch_norm::backward";
    let stats = [("mean", saved.mean.len()), ("var", saved.var.len())];
    let whole = [("x", saved.x.len()), ("y", saved.y.len()), ("grad_y", grad_y.len())];
    check(op, dims, &affine, &epilogue, &stats, &whole)?;
    for (buffer, expected, grad) in [
        ("grads.x", dims.len(), &grads.x),
        ("grads.weight", dims.channels, &grads.weight),
        ("grads.bias", dims.channels, &grads.bias),
        ("grads.gates", dims.batch * dims.channels, &grads.gates),
        ("grads.residual", dims.len(), &grads.residual),
    ] {
        check_len(op, buffer, expected, grad.as_ref().map_or(expected, |grad| grad.len()))?;
    }
    if saved.batch_stats {
        check_samples(op, dims)?;
    }
    let channels = Channel::all(&affine, saved.mean, saved.var);
    let pass = &Pass { isa, dims, epilogue, saved, grad_y, channels: &channels };
    let Grads { x: mut grad_x, weight, bias, gates, residual: mut grad_residual } = grads;

    // `grad_a` is kept where a gradient will stand, so that the last pass needs no y and `grad_y`:
    // in that of the residual, which it is, or with a ReLU in that of x, which it becomes.
    let mut scratch = Vec::new();
    let keep = match (grad_residual.as_deref_mut(), grad_x.as_deref_mut()) {
        (Some(residual), _) => Some(residual),
        (None, _) if !epilogue.relu => None,
        (None, Some(x)) => Some(x),
        (None, None) => {
            scratch.resize(dims.len(), 0.0);
            Some(scratch.as_mut_slice())
        }
    };
    let keep = &keep.map(SharedSlice::new);
    let off_planes_too = gates.is_some();
    let mut planes = vec![Sums::default(); dims.batch * dims.channels];
    for_runs(&mut planes, 1, dims.plane, |run, sums| {
        let first = run.start;
        dispatch!(isa, sum_planes(
            pass: &Pass, off_planes_too: bool, keep: &Option<SharedSlice>, first: usize,
            sums: &mut [Sums],
        ));
    });
    if let Some(gates) = gates {
        let channels = channels.iter().cycle();
        for ((grad, sums), channel) in gates.iter_mut().zip(&planes).zip(channels) {
            let through = f64::from(channel.scale) * sums.of_product;
            *grad = (through + f64::from(channel.bias) * sums.of_grad) as f32;
        }
    }
    let totals = merge(pass, &planes);
    if let Some(weight) = weight {
        for ((grad, sums), channel) in weight.iter_mut().zip(&totals).zip(&channels) {
            *grad = (sums.of_product * f64::from(channel.inv_std)) as f32;
        }
    }
    if let Some(bias) = bias {
        bias.iter_mut().zip(&totals).for_each(|(grad, sums)| *grad = sums.of_grad as f32);
    }
    if let Some(grad_x) = grad_x {
        let through_stats = through_stats(pass, &totals);
        let (through_stats, kept) = (through_stats.as_deref(), grad_residual.as_deref());
        for_runs(grad_x, dims.plane, dims.plane, |run, grad_x| {
            let first = run.start;
            dispatch!(isa, planes_of_x(
                pass: &Pass, through_stats: Option<&[ThroughStats]>, kept: Option<&[f32]>,
                first: usize, grad_x: &mut [f32],
            ));
        });
    }
    Ok(())
}

/// The arguments of a pass, which are the same for all planes.
struct Pass<'a> {
    isa: Isa,
    dims: PlaneDims,
    epilogue: Epilogue<'a>,
    saved: Saved<'a>,
    grad_y: &'a [f32],
    channels: &'a [Channel],
}

/// The sums of `grad_a` and of `grad_a·(x - mean)` over a plane; of a channel, those of `grad_z`.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    of_grad: f64,
    of_product: f64,
}

/// The gradient that flows into each value through the mean, and through the variance per distance
/// from it.
#[derive(Debug, Clone, Copy)]
struct ThroughStats {
    mean: f32,
    var: f32,
}

/// Computes the sums of some planes. Those of inactive planes stay 0 unless they are needed too.
#[inline(always)]
fn sum_planes(
    pass: &Pass,
    off_planes_too: bool,
    keep: &Option<SharedSlice>,
    first: usize,
    sums: &mut [Sums],
) {
    for (i, sums) in sums.iter_mut().enumerate() {
        let plane = first + i;
        let mean = pass.channels[plane % pass.dims.channels].mean;
        let summed = off_planes_too || pass.epilogue.gate(plane) != 0.0;
        let plane = elements(pass.dims, plane);
        for start in plane.clone().step_by(BLOCK) {
            let at = start..plane.end.min(start + BLOCK);
            let x = &pass.saved.x[at.clone()];
            let grad_a = match keep {
                None => &pass.grad_y[at],
                Some(keep) => {
                    // SAFETY: every plane is visited by one task, one block after the other.
                    let grad_a = unsafe { keep.part(at.clone()) };
                    write_grad_a(pass, at, grad_a);
                    grad_a
                }
            };
            if summed {
                let [of_grad, of_product] = sums_along(pass.isa, mean, x, grad_a);
                sums.of_grad += of_grad;
                sums.of_product += of_product;
            }
        }
    }
}

#[inline(always)]
fn write_grad_a(pass: &Pass, at: Range<usize>, grad_a: &mut [f32]) {
    let grad_y = &pass.grad_y[at.clone()];
    if pass.epilogue.relu {
        for ((grad_a, &grad), &y) in grad_a.iter_mut().zip(grad_y).zip(&pass.saved.y[at]) {
            *grad_a = if y <= 0.0 { 0.0 } else { grad };
        }
    } else {
        grad_a.copy_from_slice(grad_y);
    }
}

/// Returns the sums of each channel, (C): over its planes, times their gates.
fn merge(pass: &Pass, planes: &[Sums]) -> Vec<Sums> {
    let mut totals = vec![Sums::default(); pass.dims.channels];
    for (n, sample) in planes.chunks_exact(pass.dims.channels.max(1)).enumerate() {
        for (c, (total, sums)) in totals.iter_mut().zip(sample).enumerate() {
            let gate = f64::from(pass.epilogue.gate(n * pass.dims.channels + c));
            // By selection, because the sums of an inactive plane may be NaN.
            if gate != 0.0 {
                total.of_grad += gate * sums.of_grad;
                total.of_product += gate * sums.of_product;
            }
        }
    }
    totals
}

/// Returns the gradients through the statistics, (C), or `None` if the statistics do not depend on
/// x.
fn through_stats(pass: &Pass, totals: &[Sums]) -> Option<Vec<ThroughStats>> {
    let count = (pass.dims.batch * pass.dims.plane) as f64;
    let channel = |(sums, channel): (&Sums, &Channel)| {
        let (scale, inv_std) = (f64::from(channel.scale), f64::from(channel.inv_std));
        ThroughStats {
            mean: (sums.of_grad * scale / count) as f32,
            var: (sums.of_product * inv_std * inv_std * scale / count) as f32,
        }
    };
    pass.saved.batch_stats.then(|| totals.iter().zip(pass.channels).map(channel).collect())
}

/// Computes the gradient of some planes of x. `grad_a` is `kept` if that is there, else with a ReLU
/// it is what `grad_x` holds, else it is `grad_y`.
#[inline(always)]
fn planes_of_x(
    pass: &Pass,
    through_stats: Option<&[ThroughStats]>,
    kept: Option<&[f32]>,
    first: usize,
    grad_x: &mut [f32],
) {
    let grad_a = kept.or(Some(pass.grad_y).filter(|_| !pass.epilogue.relu));
    for (i, grad_x) in grad_x.chunks_exact_mut(pass.dims.plane).enumerate() {
        let plane = first + i;
        let c = plane % pass.dims.channels;
        let gate = pass.epilogue.gate(plane);
        let at = elements(pass.dims, plane);
        let x = &pass.saved.x[at.clone()];
        let grad_a = grad_a.map(|grad_a| &grad_a[at]);
        plane_of_x(&pass.channels[c], gate, through_stats.map(|all| all[c]), x, grad_a, grad_x);
    }
}

#[inline(always)]
fn plane_of_x(
    channel: &Channel,
    gate: f32,
    through_stats: Option<ThroughStats>,
    x: &[f32],
    grad_a: Option<&[f32]>,
    grad_x: &mut [f32],
) {
    let factor = gate * channel.scale;
    let Some(through) = through_stats else {
        return match grad_a {
            _ if gate == 0.0 => grad_x.fill(0.0),
            None => grad_x.iter_mut().for_each(|grad| *grad *= factor),
            Some(grad_a) => {
                grad_x.iter_mut().zip(grad_a).for_each(|(grad_x, grad)| *grad_x = grad * factor);
            }
        };
    };
    let stats = |x: f32| through.mean + (x - channel.mean) * through.var;
    match grad_a {
        _ if gate == 0.0 => {
            grad_x.iter_mut().zip(x).for_each(|(grad_x, x)| *grad_x = -stats(*x));
        }
        None => {
            grad_x.iter_mut().zip(x).for_each(|(grad, x)| *grad = *grad * factor - stats(*x));
        }
        Some(grad_a) => {
            for ((grad_x, x), grad) in grad_x.iter_mut().zip(x).zip(grad_a) {
                *grad_x = grad * factor - stats(*x);
            }
        }
    }
}
