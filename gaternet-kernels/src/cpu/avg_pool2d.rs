//! Average pooling over windows; padding counts as zeros.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use super::windows::{for_window_rows, planes_of};
use crate::dims::PoolDims;
use crate::error::{Result, check_len};

/// Writes the means of the windows of x (N, C, H, W), zeros of the padding included, to y (N, C,
/// OH, OW).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn forward(isa: Isa, dims: &PoolDims, x: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("avg_pool2d::forward", "x", dims.input_len(), x.len())?;
    check_len("avg_pool2d::forward", "y", dims.output_len(), y.len())?;
    let [in_plane, out_plane] = planes_of(dims);
    for_runs(y, out_plane, in_plane, |planes, y| {
        let x = &x[planes.start * in_plane..planes.end * in_plane];
        dispatch!(isa, window_means(dims: &PoolDims, x: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Writes the gradient of x, (N, C, H, W), that follows from `grad_y` (N, C, OH, OW).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward(isa: Isa, dims: &PoolDims, grad_y: &[f32], grad_x: &mut [f32]) -> Result<()> {
    check_len("avg_pool2d::backward", "grad_y", dims.output_len(), grad_y.len())?;
    check_len("avg_pool2d::backward", "grad_x", dims.input_len(), grad_x.len())?;
    let [in_plane, out_plane] = planes_of(dims);
    for_runs(grad_x, in_plane, in_plane, |planes, grad_x| {
        let grad_y = &grad_y[planes.start * out_plane..planes.end * out_plane];
        dispatch!(isa, window_fractions(dims: &PoolDims, grad_y: &[f32], grad_x: &mut [f32]));
    });
    Ok(())
}

#[inline(always)]
fn window_means(dims: &PoolDims, x: &[f32], y: &mut [f32]) {
    let fraction = window_fraction(dims);
    let [in_plane, out_plane] = planes_of(dims);
    y.fill(0.0);
    for (x, y) in x.chunks_exact(in_plane).zip(y.chunks_exact_mut(out_plane)) {
        for_window_rows(dims, |x_row, step, y_row| {
            let taps = x[x_row..].iter().step_by(step);
            y[y_row].iter_mut().zip(taps).for_each(|(y, x)| *y += x * fraction);
        });
    }
}

#[inline(always)]
fn window_fractions(dims: &PoolDims, grad_y: &[f32], grad_x: &mut [f32]) {
    let fraction = window_fraction(dims);
    let [in_plane, out_plane] = planes_of(dims);
    grad_x.fill(0.0);
    for (grad_x, grad_y) in grad_x.chunks_exact_mut(in_plane).zip(grad_y.chunks_exact(out_plane)) {
        for_window_rows(dims, |x_row, step, y_row| {
            let taps = grad_x[x_row..].iter_mut().step_by(step);
            taps.zip(&grad_y[y_row]).for_each(|(x, grad)| *x += grad * fraction);
        });
    }
}

fn window_fraction(dims: &PoolDims) -> f32 {
    let [kh, kw] = dims.kernel();
    1.0 / (kh * kw) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::avg_pool2d as reference;
    use crate::testing::{assert_close, pool_grid, values, widen};

    #[test]
    fn both_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for dims in pool_grid() {
                let (x, grad) = (values(1, dims.input_len()), values(2, dims.output_len()));
                let (mut y, mut grad_x) = (vec![7.0; grad.len()], vec![7.0; x.len()]);
                forward(isa, &dims, &x, &mut y).expect("lengths fit");
                assert_close((isa, dims), &y, &reference::forward(&dims, &widen(&x)), 1e-6);
                backward(isa, &dims, &grad, &mut grad_x).expect("lengths fit");
                let want = reference::backward(&dims, &widen(&grad));
                assert_close((isa, dims), &grad_x, &want, 1e-6);
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let mut out = [7.0; 9];
        let dims = PoolDims::new([1, 1, 3, 3], [2, 2], [1, 1], [0, 0]).expect("valid");
        assert!(forward(isa, &dims, &[1.0; 8], &mut out[..4]).is_err());
        assert!(forward(isa, &dims, &[1.0; 9], &mut out[..5]).is_err());
        assert!(backward(isa, &dims, &[1.0; 5], &mut out).is_err());
        assert_eq!(out, [7.0; 9]);
    }
}
