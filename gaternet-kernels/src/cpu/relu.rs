//! The ReLU `y = max(x, 0)`; NaN stays NaN, so that it shows.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use crate::error::{Result, check_len};

/// Computes y of x; both have the same length.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn forward(isa: Isa, x: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("relu::forward", "y", x.len(), y.len())?;
    for_runs(y, 1, 1, |range, y| {
        let x = &x[range];
        dispatch!(isa, rectify(x: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Computes the gradient of x from the output y: `grad_y` where `y > 0`, else 0.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn backward(isa: Isa, y: &[f32], grad_y: &[f32], grad_x: &mut [f32]) -> Result<()> {
    check_len("relu::backward", "grad_y", y.len(), grad_y.len())?;
    check_len("relu::backward", "grad_x", y.len(), grad_x.len())?;
    for_runs(grad_x, 1, 1, |range, grad_x| {
        let (y, grad_y) = (&y[range.clone()], &grad_y[range]);
        dispatch!(isa, mask(y: &[f32], grad_y: &[f32], grad_x: &mut [f32]));
    });
    Ok(())
}

#[inline(always)]
fn rectify(x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x <= 0.0 { 0.0 } else { x });
}

#[inline(always)]
fn mask(y: &[f32], grad_y: &[f32], grad_x: &mut [f32]) {
    for ((grad_x, &grad), &y) in grad_x.iter_mut().zip(grad_y).zip(y) {
        *grad_x = if y <= 0.0 { 0.0 } else { grad };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn both_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for len in [0, 1, 7, 49, 1024, 100_003] {
                let (mut x, grad) = (values(1, len), values(2, len));
                if len > 6 {
                    (x[3], x[6]) = (f32::NAN, -0.0);
                }
                let (mut y, mut grad_x) = (vec![7.0; len], vec![7.0; len]);
                forward(isa, &x, &mut y).expect("equally long");
                backward(isa, &y, &grad, &mut grad_x).expect("equally long");
                let want = reference::relu::forward(&widen(&x));
                assert_close((isa, len), &y, &want, 0.0);
                let want = reference::relu::backward(&want, &widen(&grad));
                assert_close((isa, len), &grad_x, &want, 0.0);
            }
        }
    }

    #[test]
    fn different_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let mut out = [7.0; 3];
        assert!(forward(isa, &[1.0; 4], &mut out).is_err());
        assert!(backward(isa, &[1.0; 4], &[1.0; 4], &mut out).is_err());
        assert!(backward(isa, &[1.0; 3], &[1.0; 4], &mut out).is_err());
        assert_eq!(out, [7.0; 3]);
    }
}
