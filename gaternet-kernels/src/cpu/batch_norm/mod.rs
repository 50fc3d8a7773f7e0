//! Batch normalisation, fused with what follows it in a block.
//!
//! `z = weight·(x - mean)/sqrt(var + eps) + bias`, `a = z·gate`, `y = relu(a + residual)`.
//! x, y and residual are (N, C, H, W); weight, bias, mean and var (C); gates (N, C). Where a gate
//! is 0, `a` is +0 by selection, so that a NaN in x does not show.
//!
//! Every pass streams whole samples, in the order of memory: what needs a channel of all samples
//! first goes into one small record per plane. (A task per channel would visit memory in strides
//! that neither prefetchers nor cache sets like: it is several times slower.) The records are
//! merged in a fixed order, so no result depends on the number of threads.

mod backward;
mod forward;
#[cfg(test)]
mod tests;

pub use backward::{Grads, Saved, backward};
pub use forward::{forward_eval, forward_train};

use std::ops::Range;

use crate::dims::{PlaneDims, checked_len};
use crate::error::{KernelError, Result, check_len};

/// The learned part of a batch normalisation, with the constant of its root.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// The factor of each channel, (C).
    pub weight: &'a [f32],
    /// The term of each channel, (C).
    pub bias: &'a [f32],
    /// The constant that is added to the variance.
    pub eps: f32,
}

/// The epilogue of a batch normalisation, which follows in the same pass over memory:
/// `relu(z·gate + residual)`. By default it does nothing.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Epilogue<'a> {
    /// (N, C): a factor for each plane.
    pub gates: Option<&'a [f32]>,
    /// (N, C, H, W): added after the gates. Its values are read by the forward passes only.
    pub residual: Option<&'a [f32]>,
    /// Whether a ReLU comes last. NaN passes through it.
    pub relu: bool,
}

impl<'a> Epilogue<'a> {
    /// The same epilogue with these gates, (N, C).
    #[must_use]
    pub fn with_gates(self, gates: Option<&'a [f32]>) -> Epilogue<'a> {
        Epilogue { gates, ..self }
    }

    /// The same epilogue with this residual, (N, C, H, W).
    #[must_use]
    pub fn with_residual(self, residual: Option<&'a [f32]>) -> Epilogue<'a> {
        Epilogue { residual, ..self }
    }

    /// The same epilogue, with or without a ReLU at the end.
    #[must_use]
    pub fn with_relu(self, relu: bool) -> Epilogue<'a> {
        Epilogue { relu, ..self }
    }

    fn gate(&self, plane: usize) -> f32 {
        self.gates.map_or(1.0, |gates| gates[plane])
    }
}

/// The normalisation of one channel: `z = (x - mean)·scale + bias`.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    inv_std: f32,
    scale: f32,
    bias: f32,
}

impl Channel {
    /// Returns the normalisations of all channels.
    fn all(affine: &Affine, mean: &[f32], var: &[f32]) -> Vec<Channel> {
        let stats = mean.iter().zip(var);
        let learned = affine.weight.iter().zip(affine.bias);
        let channel = |((&mean, &var), (&weight, &bias)): ((&f32, &f32), (&f32, &f32))| {
            let inv_std = (1.0 / (f64::from(var) + f64::from(affine.eps)).sqrt()) as f32;
            Channel { mean, inv_std, scale: weight * inv_std, bias }
        };
        stats.zip(learned).map(channel).collect()
    }
}

/// Returns the elements of plane number `plane`, which is `n·C + c`.
fn elements(dims: PlaneDims, plane: usize) -> Range<usize> {
    plane * dims.plane..(plane + 1) * dims.plane
}

/// Checks the arguments that all passes have. Buffers (C) other than weight and bias come as
/// `per_channel`, buffers (N, C, H, W) other than the residual as `whole`.
fn check(
    op: &'static str,
    dims: PlaneDims,
    affine: &Affine,
    epilogue: &Epilogue,
    per_channel: &[(&'static str, usize)],
    whole: &[(&'static str, usize)],
) -> Result<()> {
    let len = checked_len(op, &[dims.batch, dims.channels, dims.plane])?;
    check_len(op, "weight", dims.channels, affine.weight.len())?;
    check_len(op, "bias", dims.channels, affine.bias.len())?;
    for (buffer, got) in per_channel {
        check_len(op, buffer, dims.channels, *got)?;
    }
    for (buffer, got) in whole {
        check_len(op, buffer, len, *got)?;
    }
    if let Some(gates) = epilogue.gates {
        check_len(op, "gates", dims.batch * dims.channels, gates.len())?;
    }
    if let Some(residual) = epilogue.residual {
        check_len(op, "residual", len, residual.len())?;
    }
    Ok(())
}

/// Returns `Err` where a channel has no value to take statistics of.
fn check_samples(op: &'static str, dims: PlaneDims) -> Result<()> {
    if dims.batch * dims.plane == 0 {
        let rule = "batch statistics need at least one value per channel";
        return Err(KernelError::Dims { op, rule, got: format!("{dims:?}") });
    }
    Ok(())
}
