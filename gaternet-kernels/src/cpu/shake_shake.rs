//! A weighted mean of two inputs, with a weight of its own for each sample.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use crate::error::{KernelError, Result, check_len};

/// Computes `y[n] = weights[n]·a[n] + (1 - weights[n])·b[n]` for a, b and y of as many rows as
/// there are weights.
///
/// # Errors
/// [`KernelError`] if the lengths differ or a is not whole rows.
pub fn forward(isa: Isa, weights: &[f32], a: &[f32], b: &[f32], y: &mut [f32]) -> Result<()> {
    let row = row("shake_shake::forward", weights, a.len())?;
    check_len("shake_shake::forward", "b", a.len(), b.len())?;
    check_len("shake_shake::forward", "y", a.len(), y.len())?;
    if row > 0 {
        for_runs(y, row, row, |rows, y| {
            let at = rows.start * row..rows.end * row;
            let (a, b, weights) = (&a[at.clone()], &b[at], &weights[rows]);
            dispatch!(isa, means(weights: &[f32], row: usize, a: &[f32], b: &[f32], y: &mut [f32]));
        });
    }
    Ok(())
}

/// Computes the gradient of a, `grad[n] = weights[n]·grad_y[n]`. The gradient of b has the weights
/// `1 - weights`.
///
/// # Errors
/// [`KernelError`] if the lengths differ or `grad_y` is not whole rows.
pub fn backward(isa: Isa, weights: &[f32], grad_y: &[f32], grad: &mut [f32]) -> Result<()> {
    let row = row("shake_shake::backward", weights, grad_y.len())?;
    check_len("shake_shake::backward", "grad", grad_y.len(), grad.len())?;
    if row > 0 {
        for_runs(grad, row, row, |rows, grad| {
            let (grad_y, weights) = (&grad_y[rows.start * row..rows.end * row], &weights[rows]);
            dispatch!(isa, scaled(weights: &[f32], row: usize, grad_y: &[f32], grad: &mut [f32]));
        });
    }
    Ok(())
}

/// Returns the length of a row, 0 if there is nothing at all.
fn row(op: &'static str, weights: &[f32], len: usize) -> Result<usize> {
    match len.checked_rem(weights.len()) {
        Some(0) => Ok(len / weights.len()),
        None if len == 0 => Ok(0),
        _ => {
            let rule = "there must be one weight per row";
            let got = format!("{} weights for {len} values", weights.len());
            Err(KernelError::Dims { op, rule, got })
        }
    }
}

#[inline(always)]
fn means(weights: &[f32], row: usize, a: &[f32], b: &[f32], y: &mut [f32]) {
    let rows = a.chunks_exact(row).zip(b.chunks_exact(row)).zip(y.chunks_exact_mut(row));
    for (((a, b), y), &weight) in rows.zip(weights) {
        let rest = 1.0 - weight;
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = weight * a + rest * b);
    }
}

#[inline(always)]
fn scaled(weights: &[f32], row: usize, grad_y: &[f32], grad: &mut [f32]) {
    let rows = grad_y.chunks_exact(row).zip(grad.chunks_exact_mut(row));
    for ((grad_y, grad), &weight) in rows.zip(weights) {
        grad.iter_mut().zip(grad_y).for_each(|(grad, grad_y)| *grad = weight * grad_y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::shake_shake as reference;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn both_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for (samples, row) in [(1, 1), (3, 7), (3, 49), (5, 20_001), (130, 1024)] {
                let weights: Vec<f32> = (0..samples).map(|n| (n % 5) as f32 / 4.0).collect();
                let rest: Vec<f32> = weights.iter().map(|weight| 1.0 - weight).collect();
                let [a, b, grad] = [1, 2, 3].map(|seed| values(seed, samples * row));
                let mut y = vec![7.0; a.len()];
                forward(isa, &weights, &a, &b, &mut y).expect("lengths fit");
                let want = reference::forward(&widen(&weights), &widen(&a), &widen(&b));
                assert_close((isa, samples, row), &y, &want, 1e-6);
                let want = reference::backward(&widen(&weights), &widen(&grad));
                for (weights, want) in [(&weights, want.0), (&rest, want.1)] {
                    backward(isa, weights, &grad, &mut y).expect("lengths fit");
                    assert_close((isa, samples, row), &y, &want, 1e-6);
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let mut out = [7.0; 4];
        assert!(forward(isa, &[0.5; 3], &[1.0; 4], &[1.0; 4], &mut out).is_err());
        assert!(forward(isa, &[], &[1.0; 4], &[1.0; 4], &mut out).is_err());
        assert!(forward(isa, &[0.5; 2], &[1.0; 4], &[1.0; 5], &mut out).is_err());
        assert!(backward(isa, &[0.5; 2], &[1.0; 6], &mut out).is_err());
        assert_eq!(out, [7.0; 4]);
    }
}
