//! Average pools: over whole planes, and over windows; padding counts as zeros.

use std::ops::Range;

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use super::reduce::{BLOCK, sum};
use crate::dims::{PlaneDims, PoolDims, checked_len};
use crate::error::{KernelError, Result, check_len};

/// Mean of each plane: y (N, C) of x (N, C, H, W).
///
/// # Errors
/// [`KernelError`] if a length does not fit `dims` or the planes are empty.
pub fn global_avg_forward(isa: Isa, dims: PlaneDims, x: &[f32], y: &mut [f32]) -> Result<()> {
    check_global("pool::global_avg_forward", dims, ("x", x.len()), ("y", y.len()))?;
    let plane = dims.plane;
    for_runs(y, 1, plane, |planes, y| {
        let x = &x[planes.start * plane..planes.end * plane];
        dispatch!(isa, plane_means(isa: Isa, plane: usize, x: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Gradient of x (N, C, H, W) from `grad_y` (N, C).
///
/// # Errors
/// [`KernelError`] if a length does not fit `dims` or the planes are empty.
pub fn global_avg_backward(
    isa: Isa,
    dims: PlaneDims,
    grad_y: &[f32],
    grad_x: &mut [f32],
) -> Result<()> {
    let op = "pool::global_avg_backward";
    check_global(op, dims, ("grad_x", grad_x.len()), ("grad_y", grad_y.len()))?;
    let plane = dims.plane;
    for_runs(grad_x, plane, plane, |planes, grad_x| {
        let grad_y = &grad_y[planes];
        dispatch!(isa, spread(plane: usize, grad_y: &[f32], grad_x: &mut [f32]));
    });
    Ok(())
}

/// Means of the windows, zeros of the padding included: y (N, C, OH, OW) of x (N, C, H, W).
///
/// # Errors
/// [`KernelError`] if a length does not fit `dims`.
pub fn avg_forward(isa: Isa, dims: &PoolDims, x: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("pool::avg_forward", "x", dims.input_len(), x.len())?;
    check_len("pool::avg_forward", "y", dims.output_len(), y.len())?;
    let [in_plane, out_plane] = planes_of(dims);
    for_runs(y, out_plane, in_plane, |planes, y| {
        let x = &x[planes.start * in_plane..planes.end * in_plane];
        dispatch!(isa, window_means(dims: &PoolDims, x: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Gradient of x (N, C, H, W) from `grad_y` (N, C, OH, OW).
///
/// # Errors
/// [`KernelError`] if a length does not fit `dims`.
pub fn avg_backward(isa: Isa, dims: &PoolDims, grad_y: &[f32], grad_x: &mut [f32]) -> Result<()> {
    check_len("pool::avg_backward", "grad_y", dims.output_len(), grad_y.len())?;
    check_len("pool::avg_backward", "grad_x", dims.input_len(), grad_x.len())?;
    let [in_plane, out_plane] = planes_of(dims);
    for_runs(grad_x, in_plane, in_plane, |planes, grad_x| {
        let grad_y = &grad_y[planes.start * out_plane..planes.end * out_plane];
        dispatch!(isa, window_shares(dims: &PoolDims, grad_y: &[f32], grad_x: &mut [f32]));
    });
    Ok(())
}

fn check_global(
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

/// (H·W, OH·OW).
pub(super) fn planes_of(dims: &PoolDims) -> [usize; 2] {
    [dims.in_size(), dims.out_size()].map(|[h, w]| h * w)
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
    let share = 1.0 / plane as f32;
    for (grad_x, grad) in grad_x.chunks_exact_mut(plane).zip(grad_y) {
        grad_x.fill(grad * share);
    }
}

#[inline(always)]
fn window_means(dims: &PoolDims, x: &[f32], y: &mut [f32]) {
    let share = window_share(dims);
    let [in_plane, out_plane] = planes_of(dims);
    y.fill(0.0);
    for (x, y) in x.chunks_exact(in_plane).zip(y.chunks_exact_mut(out_plane)) {
        for_window_rows(dims, |x_row, step, y_row| {
            let taps = x[x_row..].iter().step_by(step);
            y[y_row].iter_mut().zip(taps).for_each(|(y, x)| *y += x * share);
        });
    }
}

#[inline(always)]
fn window_shares(dims: &PoolDims, grad_y: &[f32], grad_x: &mut [f32]) {
    let share = window_share(dims);
    let [in_plane, out_plane] = planes_of(dims);
    grad_x.fill(0.0);
    for (grad_x, grad_y) in grad_x.chunks_exact_mut(in_plane).zip(grad_y.chunks_exact(out_plane)) {
        for_window_rows(dims, |x_row, step, y_row| {
            let taps = grad_x[x_row..].iter_mut().step_by(step);
            taps.zip(&grad_y[y_row]).for_each(|(x, grad)| *x += grad * share);
        });
    }
}

fn window_share(dims: &PoolDims) -> f32 {
    let [kh, kw] = dims.kernel();
    1.0 / (kh * kw) as f32
}

/// Calls `f(first input, input step, outputs)` for every output row and every tap of the window that
/// meets the input: output `i` of the range goes with input `first + i·step`.
#[inline(always)]
pub(super) fn for_window_rows(dims: &PoolDims, mut f: impl FnMut(usize, usize, Range<usize>)) {
    let [h, w] = dims.in_size();
    let [oh, ow] = dims.out_size();
    let [kh, kw] = dims.kernel();
    let [down, along] = dims.stride();
    let [top, left] = dims.padding();
    for oy in 0..oh {
        for y in (oy * down..oy * down + kh).filter_map(|y| y.checked_sub(top).filter(|&y| y < h)) {
            for kx in 0..kw {
                // The outputs whose tap lies in the row: 0 <= ox·along + kx - left < w.
                let first = left.saturating_sub(kx).div_ceil(along);
                let last = (w + left).saturating_sub(kx).div_ceil(along).min(ow);
                if first < last {
                    let x = y * w + first * along + kx - left;
                    f(x, along, oy * ow + first..oy * ow + last);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::pool as reference;
    use crate::testing::{assert_close, plane_grid, pool_grid, values, widen};

    #[test]
    fn global_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for dims in plane_grid() {
                let means = dims.batch * dims.channels;
                let (x, grad) = (values(1, dims.len()), values(2, means));
                let (mut y, mut grad_x) = (vec![7.0; means], vec![7.0; dims.len()]);
                global_avg_forward(isa, dims, &x, &mut y).expect("lengths fit");
                let want = reference::global_avg_forward(dims, &widen(&x));
                assert_close((isa, dims), &y, &want, 1e-6);
                global_avg_backward(isa, dims, &grad, &mut grad_x).expect("lengths fit");
                let want = reference::global_avg_backward(dims, &widen(&grad));
                assert_close((isa, dims), &grad_x, &want, 1e-6);
            }
        }
    }

    #[test]
    fn window_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for dims in pool_grid() {
                let (x, grad) = (values(1, dims.input_len()), values(2, dims.output_len()));
                let (mut y, mut grad_x) = (vec![7.0; grad.len()], vec![7.0; x.len()]);
                avg_forward(isa, &dims, &x, &mut y).expect("lengths fit");
                assert_close((isa, dims), &y, &reference::avg_forward(&dims, &widen(&x)), 1e-6);
                avg_backward(isa, &dims, &grad, &mut grad_x).expect("lengths fit");
                let want = reference::avg_backward(&dims, &widen(&grad));
                assert_close((isa, dims), &grad_x, &want, 1e-6);
            }
        }
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        for (input, kernel, stride, padding) in [
            ([1, 1, 4, 4], [0, 2], [1, 1], [0, 0]),
            ([1, 1, 4, 4], [2, 2], [1, 0], [0, 0]),
            ([1, 1, 4, 4], [2, 5], [1, 1], [0, 0]),
            ([1, 1, 4, 4], [3, 3], [1, 1], [1, 2]),
            ([1, 1, 0, 4], [2, 2], [1, 1], [1, 1]),
            ([usize::MAX, 2, 4, 4], [2, 2], [1, 1], [0, 0]),
            ([1, 1, 4, 4], [usize::MAX, 2], [1, 1], [usize::MAX / 2, 0]),
        ] {
            let error = PoolDims::new(input, kernel, stride, padding).expect_err("invalid");
            assert!(error.to_string().contains("pool2d"), "{error}");
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let dims = PlaneDims { batch: 1, channels: 2, plane: 4 };
        let mut out = [7.0; 9];
        assert!(global_avg_forward(isa, dims, &[1.0; 7], &mut out[..2]).is_err());
        assert!(global_avg_forward(isa, dims, &[1.0; 8], &mut out[..3]).is_err());
        assert!(global_avg_backward(isa, dims, &[1.0; 2], &mut out[..7]).is_err());
        let empty = PlaneDims { plane: 0, ..dims };
        assert!(global_avg_forward(isa, empty, &[], &mut out[..2]).is_err());
        let dims = PoolDims::new([1, 1, 3, 3], [2, 2], [1, 1], [0, 0]).expect("valid");
        assert!(avg_forward(isa, &dims, &[1.0; 8], &mut out[..4]).is_err());
        assert!(avg_forward(isa, &dims, &[1.0; 9], &mut out[..5]).is_err());
        assert!(avg_backward(isa, &dims, &[1.0; 5], &mut out).is_err());
        assert_eq!(out, [7.0; 9]);
    }
}
