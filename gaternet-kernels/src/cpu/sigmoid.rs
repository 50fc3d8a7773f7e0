//! The sigmoid `y = 1 / (1 + exp(-x))`; NaN stays NaN, so that it shows.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use crate::error::{Result, check_len};

/// The number of sums that cost about as much as an exponential.
const WORK: usize = 8;

/// Computes y of x; both have the same length.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn forward(x: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("sigmoid::forward", "y", x.len(), y.len())?;
    // The exponential is a call of the maths library, whatever the instruction set.
    for_runs(y, 1, WORK, |range, y| {
        y.iter_mut().zip(&x[range]).for_each(|(y, &x)| *y = 1.0 / (1.0 + (-x).exp()));
    });
    Ok(())
}

/// Computes the gradient of x from the output y: `grad_y · y · (1 - y)`.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn backward(isa: Isa, y: &[f32], grad_y: &[f32], grad_x: &mut [f32]) -> Result<()> {
    check_len("sigmoid::backward", "grad_y", y.len(), grad_y.len())?;
    check_len("sigmoid::backward", "grad_x", y.len(), grad_x.len())?;
    for_runs(grad_x, 1, 1, |range, grad_x| {
        let (y, grad_y) = (&y[range.clone()], &grad_y[range]);
        dispatch!(isa, slopes(y: &[f32], grad_y: &[f32], grad_x: &mut [f32]));
    });
    Ok(())
}

#[inline(always)]
fn slopes(y: &[f32], grad_y: &[f32], grad_x: &mut [f32]) {
    for ((grad_x, &grad), &y) in grad_x.iter_mut().zip(grad_y).zip(y) {
        *grad_x = grad * y * (1.0 - y);
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
                x.iter_mut().for_each(|x| *x *= 5.0);
                if len > 6 {
                    (x[2], x[3], x[6]) = (f32::NAN, 1e9, -1e9);
                }
                let (mut y, mut grad_x) = (vec![7.0; len], vec![7.0; len]);
                forward(&x, &mut y).expect("equally long");
                let want = reference::sigmoid::forward(&widen(&x));
                assert_close((isa, len), &y, &want, 1e-6);
                backward(isa, &y, &grad, &mut grad_x).expect("equally long");
                let want = reference::sigmoid::backward(&want, &widen(&grad));
                assert_close((isa, len), &grad_x, &want, 1e-6);
            }
        }
    }

    #[test]
    fn different_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let mut out = [7.0; 3];
        assert!(forward(&[1.0; 4], &mut out).is_err());
        assert!(backward(isa, &[1.0; 4], &[1.0; 4], &mut out).is_err());
        assert!(backward(isa, &[1.0; 3], &[1.0; 4], &mut out).is_err());
        assert_eq!(out, [7.0; 3]);
    }
}
