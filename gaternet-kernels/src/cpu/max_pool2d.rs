//! Maximum pooling over windows; padding is never the maximum. A NaN in a window is its maximum, so
//! that it shows.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use super::windows::{for_window_rows, planes_of};
use crate::dims::PoolDims;
use crate::error::{Result, check_len};

/// Writes the maxima of the windows of x (N, C, H, W) to y (N, C, OH, OW).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn forward(isa: Isa, dims: &PoolDims, x: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("max_pool2d::forward", "x", dims.input_len(), x.len())?;
    check_len("max_pool2d::forward", "y", dims.output_len(), y.len())?;
    let [in_plane, out_plane] = planes_of(dims);
    for_runs(y, out_plane, in_plane, |planes, y| {
        let x = &x[planes.start * in_plane..planes.end * in_plane];
        dispatch!(isa, window_maxima(dims: &PoolDims, x: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Writes the gradient of x, (N, C, H, W), that follows from `grad_y` (N, C, OH, OW): each value of
/// `grad_y` goes to the maximum of its window, the first of equals.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward(dims: &PoolDims, x: &[f32], grad_y: &[f32], grad_x: &mut [f32]) -> Result<()> {
    check_len("max_pool2d::backward", "x", dims.input_len(), x.len())?;
    check_len("max_pool2d::backward", "grad_y", dims.output_len(), grad_y.len())?;
    check_len("max_pool2d::backward", "grad_x", dims.input_len(), grad_x.len())?;
    let [in_plane, out_plane] = planes_of(dims);
    for_runs(grad_x, in_plane, in_plane, |planes, grad_x| {
        let x = &x[planes.start * in_plane..planes.end * in_plane];
        let grad_y = &grad_y[planes.start * out_plane..planes.end * out_plane];
        route(dims, x, grad_y, grad_x);
    });
    Ok(())
}

#[inline(always)]
fn window_maxima(dims: &PoolDims, x: &[f32], y: &mut [f32]) {
    let [in_plane, out_plane] = planes_of(dims);
    y.fill(f32::NEG_INFINITY);
    for (x, y) in x.chunks_exact(in_plane).zip(y.chunks_exact_mut(out_plane)) {
        for_window_rows(dims, |x_row, step, y_row| {
            let taps = x[x_row..].iter().step_by(step);
            y[y_row].iter_mut().zip(taps).for_each(|(y, &x)| *y = if wins(x, *y) { x } else { *y });
        });
    }
}

/// Finds the maxima again, which is cheaper than keeping their places from the forward pass.
fn route(dims: &PoolDims, x: &[f32], grad_y: &[f32], grad_x: &mut [f32]) {
    let [in_plane, out_plane] = planes_of(dims);
    let mut winners = vec![(f32::NEG_INFINITY, usize::MAX); out_plane];
    grad_x.fill(0.0);
    let planes = x.chunks_exact(in_plane).zip(grad_y.chunks_exact(out_plane));
    for ((x, grad_y), grad_x) in planes.zip(grad_x.chunks_exact_mut(in_plane)) {
        winners.fill((f32::NEG_INFINITY, usize::MAX));
        for_window_rows(dims, |x_row, step, y_row| {
            for (winner, i) in winners[y_row].iter_mut().zip((x_row..).step_by(step)) {
                // The first value of a window is its winner so far, even if it is -inf.
                if winner.1 == usize::MAX || wins(x[i], winner.0) {
                    *winner = (x[i], i);
                }
            }
        });
        winners.iter().zip(grad_y).for_each(|(&(_, i), grad)| grad_x[i] += grad);
    }
}

/// Returns whether `x` replaces `best`, which came before it.
#[inline(always)]
fn wins(x: f32, best: f32) -> bool {
    x > best || x.is_nan()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::max_pool2d as reference;
    use crate::testing::{assert_close, pool_grid, values, widen};

    #[test]
    fn both_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for dims in pool_grid() {
                let grad = values(2, dims.output_len());
                let mut x = values(1, dims.input_len());
                // Equal values, infinities and NaN among them.
                for (i, x) in x.iter_mut().enumerate() {
                    match i % 11 {
                        3 | 4 => *x = 0.5,
                        6 => *x = f32::NEG_INFINITY,
                        8 if i % 5 == 0 => *x = f32::NAN,
                        _ => {}
                    }
                }
                let (mut y, mut grad_x) = (vec![7.0; grad.len()], vec![7.0; x.len()]);
                forward(isa, &dims, &x, &mut y).expect("lengths fit");
                assert_close((isa, dims), &y, &reference::forward(&dims, &widen(&x)), 0.0);
                backward(&dims, &x, &grad, &mut grad_x).expect("lengths fit");
                let want = reference::backward(&dims, &widen(&x), &widen(&grad));
                assert_close((isa, dims), &grad_x, &want, 1e-5);
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let dims = PoolDims::new([1, 1, 3, 3], [2, 2], [1, 1], [0, 0]).expect("valid");
        let mut out = [7.0; 9];
        assert!(forward(isa, &dims, &[1.0; 8], &mut out[..4]).is_err());
        assert!(forward(isa, &dims, &[1.0; 9], &mut out[..5]).is_err());
        assert!(backward(&dims, &[1.0; 8], &[1.0; 4], &mut out).is_err());
        assert!(backward(&dims, &[1.0; 9], &[1.0; 5], &mut out).is_err());
        assert!(backward(&dims, &[1.0; 9], &[1.0; 4], &mut out[..8]).is_err());
        assert_eq!(out, [7.0; 9]);
    }
}
