//! Average pooling over windows; padding counts as zeros.

use super::windows::window;
use crate::dims::PoolDims;

/// Returns the means of the windows of x (N, C, H, W), zeros of the padding included, (N, C, OH,
/// OW).
#[must_use]
pub fn forward(dims: &PoolDims, x: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; dims.output_len()];
    for_pairs(dims, |i, o, fraction| y[o] += x[i] * fraction);
    y
}

/// Returns the gradient of x, (N, C, H, W), of `grad_y` (N, C, OH, OW).
#[must_use]
pub fn backward(dims: &PoolDims, grad_y: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; dims.input_len()];
    for_pairs(dims, |i, o, fraction| grad[i] += grad_y[o] * fraction);
    grad
}

/// Calls `f(input index, output index, 1/window)` for every pair of an output and an input of its
/// window.
fn for_pairs(dims: &PoolDims, mut f: impl FnMut(usize, usize, f64)) {
    let [kh, kw] = dims.kernel();
    for o in 0..dims.output_len() {
        window(dims, o).for_each(|i| f(i, o, 1.0 / (kh * kw) as f64));
    }
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
        assert_close("y", &forward(&dims, &x), &[3.0, 4.0, 7.0, 8.0], 1e-12);
        // `F.avg_pool2d(x, 3, stride=2, padding=1)`: the zeros count.
        let dims = PoolDims::new([1, 1, 3, 4], [3, 3], [2, 2], [1, 1]).expect("valid");
        let want = [10.0 / 9.0, 24.0 / 9.0, 26.0 / 9.0, 48.0 / 9.0];
        assert_close("padded", &forward(&dims, &x), &want, 1e-12);
    }

    #[test]
    fn gradient_agrees_with_central_differences() {
        let dims = PoolDims::new([2, 2, 5, 4], [3, 2], [1, 2], [1, 1]).expect("valid");
        let (x, grad) = (values_f64(1, dims.input_len()), values_f64(2, dims.output_len()));
        let numeric = numeric_gradient(|x| dot(&forward(&dims, x), &grad), &x);
        assert_close("x", &backward(&dims, &grad), &numeric, 1e-9);
    }
}
