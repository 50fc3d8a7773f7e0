//! Average pooling of whole planes.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use super::reduce::{BLOCK, sum};
use crate::dims::{PlaneDims, checked_len};
use crate::error::{KernelError, Result, check_len};

/// Writes the mean of each plane of x (N, C, H, W) to y (N, C).
///
/// # Errors
/// [`KernelError`] if a length does not fit `dims` or the planes are empty.
pub fn forward(isa: Isa, dims: PlaneDims, x: &[f32], y: &mut [f32]) -> Result<()> {
    check("global_avg_pool::forward", dims, ("x", x.len()), ("y", y.len()))?;
    let plane = dims.plane;
    for_runs(y, 1, plane, |planes, y| {
        let x = &x[planes.start * plane..planes.end * plane];
        dispatch!(isa, plane_means(isa: Isa, plane: usize, x: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Writes the gradient of x, (N, C, H, W), that follows from `grad_y` (N, C).
///
/// # Errors
/// [`KernelError`] if a length does not fit `dims` or the planes are empty.
pub fn backward(isa: Isa, dims: PlaneDims, grad_y: &[f32], grad_x: &mut [f32]) -> Result<()> {
    let op = "global_avg_pool::backward";
    check(op, dims, ("grad_x", grad_x.len()), ("grad_y", grad_y.len()))?;
    let plane = dims.plane;
    for_runs(grad_x, plane, plane, |planes, grad_x| {
        let grad_y = &grad_y[planes];
        dispatch!(isa, spread(plane: usize, grad_y: &[f32], grad_x: &mut [f32]));
    });
    Ok(())
}

fn check(
    op: &'static str,
    dims: PlaneDims,
    (planes, planes_got): (&'static str, usize),
    (means, means_got): (&'static str, usize),
) -> Result<()> {
    let len = checked_len(op, &[dims.batch, dims.channels, dims.plane])?;
    if dims.plane == 0 {
        let rule = "a plane must not be empty";
        return Err(KernelError::Dims { op, rule, got: format!("{dims:?}") });
    }
    check_len(op, planes, len, planes_got)?;
    check_len(op, means, dims.batch * dims.channels, means_got)
}

#[inline(always)]
fn plane_means(isa: Isa, plane: usize, x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks_exact(plane).zip(y) {
        let mut total = 0.0;
        for x in x.chunks(BLOCK) {
            total += sum(isa, x);
        }
        *y = (total / plane as f64) as f32;
    }
}

#[inline(always)]
fn spread(plane: usize, grad_y: &[f32], grad_x: &mut [f32]) {
    let fraction = 1.0 / plane as f32;
    for (grad_x, grad) in grad_x.chunks_exact_mut(plane).zip(grad_y) {
        grad_x.fill(grad * fraction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::global_avg_pool as reference;
    use crate::testing::{assert_close, plane_grid, values, widen};

    #[test]
    fn both_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for dims in plane_grid() {
                let means = dims.batch * dims.channels;
                let (x, grad) = (values(1, dims.len()), values(2, means));
                let (mut y, mut grad_x) = (vec![7.0; means], vec![7.0; dims.len()]);
                forward(isa, dims, &x, &mut y).expect("lengths fit");
                let want = reference::forward(dims, &widen(&x));
                assert_close((isa, dims), &y, &want, 1e-6);
                backward(isa, dims, &grad, &mut grad_x).expect("lengths fit");
                let want = reference::backward(dims, &widen(&grad));
                assert_close((isa, dims), &grad_x, &want, 1e-6);
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let dims = PlaneDims { batch: 1, channels: 2, plane: 4 };
        let mut out = [7.0; 9];
        assert!(forward(isa, dims, &[1.0; 7], &mut out[..2]).is_err());
        assert!(forward(isa, dims, &[1.0; 8], &mut out[..3]).is_err());
        assert!(backward(isa, dims, &[1.0; 2], &mut out[..7]).is_err());
        let empty = PlaneDims { plane: 0, ..dims };
        assert!(forward(isa, empty, &[], &mut out[..2]).is_err());
        assert_eq!(out, [7.0; 9]);
    }
}
