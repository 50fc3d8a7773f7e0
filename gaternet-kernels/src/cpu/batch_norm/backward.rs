//! The backward pass of both modes.

use super::{Affine, Channel, Epilogue, check, check_samples, elements};
use crate::cpu::isa::{Isa, dispatch};
use crate::cpu::lanes::Lanes;
use crate::cpu::parallel::for_tasks;
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::PlaneDims;
use crate::error::{Result, check_len};

/// What the forward pass read and wrote.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// (N, C, H, W).
    pub x: &'a [f32],
    /// The output, (N, C, H, W): it tells where the ReLU was open.
    pub y: &'a [f32],
    /// (C).
    pub mean: &'a [f32],
    /// (C).
    pub var: &'a [f32],
    /// Whether mean and var are those of x, so that the gradient flows through them too.
    pub batch_stats: bool,
}

/// The gradients that are wanted; each is overwritten.
#[derive(Debug, Default)]
pub struct Grads<'a> {
    /// (N, C, H, W).
    pub x: Option<&'a mut [f32]>,
    /// (C).
    pub weight: Option<&'a mut [f32]>,
    /// (C).
    pub bias: Option<&'a mut [f32]>,
    /// (N, C): the sum of `grad a · z` over the plane, where a gate is 0 too.
    pub gates: Option<&'a mut [f32]>,
    /// (N, C, H, W).
    pub residual: Option<&'a mut [f32]>,
}

/// Gradients of [`forward_train`](super::forward_train) or
/// [`forward_eval`](super::forward_eval). The values of `epilogue.residual` are not read.
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
    let pass = &Pass {
        dims,
        affine,
        epilogue,
        saved,
        grad_y,
        grad_x: grads.x.map(SharedSlice::new),
        grad_weight: grads.weight.map(SharedSlice::new),
        grad_bias: grads.bias.map(SharedSlice::new),
        grad_gates: grads.gates.map(SharedSlice::new),
        grad_residual: grads.residual.map(SharedSlice::new),
    };
    for_tasks(dims.channels, dims.batch * dims.plane, |c| {
        dispatch!(isa, channel_backward(pass: &Pass, c: usize));
    });
    Ok(())
}

struct Pass<'a> {
    dims: PlaneDims,
    affine: Affine<'a>,
    epilogue: Epilogue<'a>,
    saved: Saved<'a>,
    grad_y: &'a [f32],
    grad_x: Option<SharedSlice<'a>>,
    grad_weight: Option<SharedSlice<'a>>,
    grad_bias: Option<SharedSlice<'a>>,
    grad_gates: Option<SharedSlice<'a>>,
    grad_residual: Option<SharedSlice<'a>>,
}

/// Elements summed in f32 before f64 takes over.
const BLOCK: usize = 4096;

/// Two passes over the planes of channel `c`: sums first, then the gradient of x, which needs them.
///
/// With a ReLU the first pass leaves `grad a` in the gradient of the residual, or else of x, so
/// that the second needs neither y nor `grad_y`.
#[inline(always)]
fn channel_backward(pass: &Pass, c: usize) {
    let Pass { dims, saved, epilogue, .. } = pass;
    let channel = Channel::new(&pass.affine, c, saved.mean[c], saved.var[c]);
    let planes = || (c..dims.batch * dims.channels).step_by(dims.channels);
    let (mut grad_bias, mut grad_scale) = (0.0f64, 0.0f64);
    for plane in planes() {
        let gate = epilogue.gate(plane);
        let [sum, product] = plane_sums(pass, &channel, plane, gate);
        if gate != 0.0 {
            grad_bias += f64::from(gate) * sum;
            grad_scale += f64::from(gate) * product;
        }
        if let Some(grad_gates) = &pass.grad_gates {
            let grad = f64::from(channel.scale) * product + f64::from(channel.bias) * sum;
            // SAFETY: only this task touches the gates of channel `c`.
            unsafe { grad_gates.set(plane, grad as f32) };
        }
    }
    let inv_std = f64::from(channel.inv_std);
    // SAFETY: only this task touches channel `c`.
    unsafe {
        if let Some(grad_weight) = &pass.grad_weight {
            grad_weight.set(c, (grad_scale * inv_std) as f32);
        }
        if let Some(bias) = &pass.grad_bias {
            bias.set(c, grad_bias as f32);
        }
    }
    if let Some(grad_x) = &pass.grad_x {
        let per_value = f64::from(channel.scale) / (dims.batch * dims.plane) as f64;
        let through_stats = saved.batch_stats.then(|| {
            let through_var = grad_scale * inv_std * inv_std * per_value;
            ((grad_bias * per_value) as f32, through_var as f32)
        });
        for plane in planes() {
            // SAFETY: only this task touches the planes of channel `c`, one after the other.
            let grad_x = unsafe { grad_x.part(elements(*dims, plane)) };
            plane_grad_x(pass, &channel, plane, epilogue.gate(plane), through_stats, grad_x);
        }
    }
}

/// The sums of `grad a` and of `grad a · (x - mean)` over a plane. Those of an off plane whose gate
/// needs no gradient are not taken: they are 0 here.
#[inline(always)]
fn plane_sums(pass: &Pass, channel: &Channel, plane: usize, gate: f32) -> [f64; 2] {
    let Channel { mean, .. } = *channel;
    let relu = pass.epilogue.relu;
    let summed = gate != 0.0 || pass.grad_gates.is_some();
    if !summed && pass.grad_residual.is_none() {
        return [0.0; 2];
    }
    let kept = pass.grad_residual.as_ref().or(pass.grad_x.as_ref().filter(|_| relu));
    let masked = |grad: f32, y: f32| if y <= 0.0 { 0.0 } else { grad };
    let terms = |grad: f32, x: f32| [grad, grad * (x - mean)];
    let mut totals = [0.0; 2];
    let at = elements(pass.dims, plane);
    let end = at.end;
    for start in at.step_by(BLOCK) {
        let at = start..end.min(start + BLOCK);
        let (x, y) = (&pass.saved.x[at.clone()], &pass.saved.y[at.clone()]);
        let grad_y = &pass.grad_y[at.clone()];
        let mut lanes = Lanes::new();
        if let Some(kept) = kept {
            // SAFETY: only this task touches the planes of channel `c`, one block after the other.
            let grad_a = unsafe { kept.part(at) };
            if relu {
                let masked = grad_y.iter().zip(y).map(|(grad, y)| masked(*grad, *y));
                grad_a.iter_mut().zip(masked).for_each(|(grad_a, grad)| *grad_a = grad);
            } else {
                grad_a.copy_from_slice(grad_y);
            }
            if summed {
                lanes.add([grad_a, x], |[grad, x]| terms(grad, x));
            }
        } else if relu {
            lanes.add([grad_y, y, x], |[grad, y, x]| terms(masked(grad, y), x));
        } else {
            lanes.add([grad_y, x], |[grad, x]| terms(grad, x));
        }
        let block = lanes.totals();
        totals = [totals[0] + block[0], totals[1] + block[1]];
    }
    totals
}

/// The gradient of a plane of x, from `grad a` and, with batch statistics, the gradients through
/// mean and variance.
#[inline(always)]
fn plane_grad_x(
    pass: &Pass,
    channel: &Channel,
    plane: usize,
    gate: f32,
    through_stats: Option<(f32, f32)>,
    grad_x: &mut [f32],
) {
    let Channel { mean, scale, .. } = *channel;
    let at = elements(pass.dims, plane);
    let x = &pass.saved.x[at.clone()];
    let factor = gate * scale;
    let grad_a = match &pass.grad_residual {
        // SAFETY: only this task touches the planes of channel `c`, and no other part is alive.
        Some(residual) => Some(&*unsafe { residual.part(at.clone()) }),
        None if pass.epilogue.relu => None,
        None => Some(&pass.grad_y[at]),
    };
    match (gate == 0.0, through_stats, grad_a) {
        (true, None, _) => grad_x.fill(0.0),
        (true, Some((of_mean, of_var)), _) => {
            for (grad_x, x) in grad_x.iter_mut().zip(x) {
                *grad_x = -of_mean - (x - mean) * of_var;
            }
        }
        (false, None, None) => grad_x.iter_mut().for_each(|grad| *grad *= factor),
        (false, None, Some(grad_a)) => {
            grad_x.iter_mut().zip(grad_a).for_each(|(grad_x, grad)| *grad_x = grad * factor);
        }
        (false, Some((of_mean, of_var)), None) => {
            for (grad_x, x) in grad_x.iter_mut().zip(x) {
                *grad_x = *grad_x * factor - of_mean - (x - mean) * of_var;
            }
        }
        (false, Some((of_mean, of_var)), Some(grad_a)) => {
            for ((grad_x, x), grad) in grad_x.iter_mut().zip(x).zip(grad_a) {
                *grad_x = grad * factor - of_mean - (x - mean) * of_var;
            }
        }
    }
}
