//! Averages over a plane or over windows of it; padding counts as zeros.

use crate::dims::{PlaneDims, PoolDims};

/// Mean of each plane: (N, C) of x (N, C, H, W).
#[must_use]
pub fn global_avg_forward(dims: PlaneDims, x: &[f64]) -> Vec<f64> {
    x.chunks(dims.plane).map(|plane| plane.iter().sum::<f64>() / dims.plane as f64).collect()
}

/// Gradient of x (N, C, H, W) from grad_y (N, C).
#[must_use]
pub fn global_avg_backward(dims: PlaneDims, grad_y: &[f64]) -> Vec<f64> {
    (0..dims.len()).map(|i| grad_y[i / dims.plane] / dims.plane as f64).collect()
}

/// Means of the windows, zeros of the padding included: (N, C, OH, OW) of x (N, C, H, W).
#[must_use]
pub fn avg_forward(dims: &PoolDims, x: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; dims.output_len()];
    for_pairs(dims, |i, o, share| y[o] += x[i] * share);
    y
}

/// Gradient of x (N, C, H, W) from grad_y (N, C, OH, OW).
#[must_use]
pub fn avg_backward(dims: &PoolDims, grad_y: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; dims.input_len()];
    for_pairs(dims, |i, o, share| grad[i] += grad_y[o] * share);
    grad
}

/// Calls `f(input index, output index, 1/window)` for every pair of an output and an input of its window.
fn for_pairs(dims: &PoolDims, mut f: impl FnMut(usize, usize, f64)) {
    let [kh, kw] = dims.kernel();
    for o in 0..dims.output_len() {
        window(dims, o).for_each(|i| f(i, o, 1.0 / (kh * kw) as f64));
    }
}

/// The inputs in the window of output `o`, row by row; padding is none of them.
pub(super) fn window(dims: &PoolDims, o: usize) -> impl Iterator<Item = usize> {
    let [h, w] = dims.in_size();
    let [oh, ow] = dims.out_size();
    let [kh, kw] = dims.kernel();
    let ([down, along], [top, left]) = (dims.stride(), dims.padding());
    let (plane, oy, ox) = (o / (oh * ow), o / ow % oh, o % ow);
    (0..kh * kw).filter_map(move |k| {
        let y = (oy * down + k / kw).checked_sub(top).filter(|&y| y < h)?;
        let x = (ox * along + k % kw).checked_sub(left).filter(|&x| x < w)?;
        Some((plane * h + y) * w + x)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    /// `F.avg_pool2d(torch.arange(12.).view(1,1,3,4), (2, 3), stride=1)`
    #[test]
    fn windows_agree_with_pytorch() {
        let dims = PoolDims::new([1, 1, 3, 4], [2, 3], [1, 1], [0, 0]).expect("valid");
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        assert_close("y", &avg_forward(&dims, &x), &[3.0, 4.0, 7.0, 8.0], 1e-12);
        // `F.avg_pool2d(x, 3, stride=2, padding=1)`: the zeros count.
        let dims = PoolDims::new([1, 1, 3, 4], [3, 3], [2, 2], [1, 1]).expect("valid");
        let want = [10.0 / 9.0, 24.0 / 9.0, 26.0 / 9.0, 48.0 / 9.0];
        assert_close("padded", &avg_forward(&dims, &x), &want, 1e-12);
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let dims = PoolDims::new([2, 2, 5, 4], [3, 2], [1, 2], [1, 1]).expect("valid");
        let (x, grad) = (values_f64(1, dims.input_len()), values_f64(2, dims.output_len()));
        let numeric = numeric_gradient(|x| dot(&avg_forward(&dims, x), &grad), &x);
        assert_close("windows", &avg_backward(&dims, &grad), &numeric, 1e-9);

        let dims = PlaneDims { batch: 2, channels: 3, plane: 5 };
        let (x, grad) = (values_f64(3, 30), values_f64(4, 6));
        let numeric = numeric_gradient(|x| dot(&global_avg_forward(dims, x), &grad), &x);
        assert_close("global", &global_avg_backward(dims, &grad), &numeric, 1e-9);
    }
}
