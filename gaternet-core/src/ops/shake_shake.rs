//! Shake-Shake: two branches, mixed at random (Gastaldi 2017, arXiv 1705.07485).

use gaternet_kernels::cpu::shake_shake as kernel;
use rand::{Rng, RngExt};

use super::{check_shape, isa};
use crate::autograd::Backward;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// The weights of one block and batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ShakeDraw {
    /// (N): the fraction of the first branch, going forward.
    pub alpha: Vec<f32>,
    /// (N): the fraction of the gradient that the first branch gets.
    pub beta: Vec<f32>,
}

impl ShakeDraw {
    /// Both from U(0, 1), for each sample: the paper's Shake-Shake-Image.
    pub fn sample(batch: usize, rng: &mut impl Rng) -> ShakeDraw {
        let mut draw = || (0..batch).map(|_| rng.random()).collect();
        ShakeDraw { alpha: draw(), beta: draw() }
    }

    /// Halves, as in evaluation.
    #[must_use]
    pub fn even(batch: usize) -> ShakeDraw {
        ShakeDraw { alpha: vec![0.5; batch], beta: vec![0.5; batch] }
    }
}

/// [`shake_shake_with`] of a draw from `ctx` in training, and of halves in evaluation.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ or have no batch.
pub fn shake_shake(a: &Tensor, b: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
    let batch = a.dims().first().copied().unwrap_or(0);
    let draw =
        if ctx.training() { ShakeDraw::sample(batch, ctx.rng()) } else { ShakeDraw::even(batch) };
    shake_shake_with(a, b, draw)
}

/// `y[n] = alpha[n] · a[n] + (1 - alpha[n]) · b[n]` of a and b (N, ...). The gradient of `a[n]` is
/// `beta[n] · grad_y[n]` and that of `b[n]` is `(1 - beta[n]) · grad_y[n]`: not the derivative of y
/// unless beta is alpha, which is the point.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ, have no batch or the draw is for another batch.
pub fn shake_shake_with(a: &Tensor, b: &Tensor, draw: ShakeDraw) -> Result<Tensor> {
    check_shape("shake_shake", "both branches must have one shape", b, a.shape())?;
    let ShakeDraw { alpha, beta } = draw;
    let batch = a.dims().first();
    if batch.is_none_or(|&n| alpha.len() != n || beta.len() != n) {
        return Err(Error::Shape {
            op: "shake_shake",
            rule: "there must be one alpha and one beta per sample",
            got: format!("{} and {} for {}", alpha.len(), beta.len(), a.shape()),
        });
    }
    let mut y = storage::take(a.len());
    kernel::forward(isa(&[a, b])?, &alpha, a.data(), b.data(), &mut y)?;
    Tensor::from_op(y, a.shape(), &[a, b], |_| ShakeShake { beta })
}

#[derive(Debug)]
struct ShakeShake {
    beta: Vec<f32>,
}

impl Backward for ShakeShake {
    fn name(&self) -> &'static str {
        "shake_shake"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let isa = grad.isa()?;
        let share = |weights: &[f32]| {
            let mut out = storage::take(grad.len());
            kernel::backward(isa, weights, grad.data(), &mut out)?;
            Tensor::new(out, grad.shape())
        };
        let rest = || self.beta.iter().map(|beta| 1.0 - beta).collect::<Vec<_>>();
        Ok(vec![
            needs[0].then(|| share(&self.beta)).transpose()?,
            needs[1].then(|| share(&rest())).transpose()?,
        ])
    }
}
