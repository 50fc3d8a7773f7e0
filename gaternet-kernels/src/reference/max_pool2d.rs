//! Maximum pooling over windows; padding is never the maximum.

use super::windows::window;
use crate::dims::PoolDims;

/// Returns the maxima of the windows of x (N, C, H, W), (N, C, OH, OW); NaN where a window holds
/// one.
#[must_use]
pub fn forward(dims: &PoolDims, x: &[f64]) -> Vec<f64> {
    (0..dims.output_len()).map(|o| x[winner(dims, x, o)]).collect()
}

/// Returns the gradient of x, (N, C, H, W), of `grad_y` (N, C, OH, OW): each value of `grad_y` goes
/// to the first largest value of its window.
#[must_use]
pub fn backward(dims: &PoolDims, x: &[f64], grad_y: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; dims.input_len()];
    for (o, grad_y) in grad_y.iter().enumerate() {
        grad[winner(dims, x, o)] += grad_y;
    }
    grad
}

/// Returns the input that is output `o`: the first of the largest, or the last NaN.
fn winner(dims: &PoolDims, x: &[f64], o: usize) -> usize {
    let better = |best: usize, i: usize| if x[i] > x[best] || x[i].is_nan() { i } else { best };
    window(dims, o).reduce(better).expect("a window holds an input")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    /// `F.max_pool2d(-torch.arange(12.).view(1,1,3,4), 3, stride=2, padding=1)`
    #[test]
    fn padding_never_wins() {
        let dims = PoolDims::new([1, 1, 3, 4], [3, 3], [2, 2], [1, 1]).expect("valid");
        let x: Vec<f64> = (0..12).map(|i| -f64::from(i)).collect();
        assert_close("y", &forward(&dims, &x), &[0.0, -1.0, -4.0, -5.0], 0.0);
    }

    #[test]
    fn the_first_of_equals_gets_the_gradient_and_nan_wins() {
        let dims = PoolDims::new([1, 1, 1, 4], [1, 4], [1, 1], [0, 0]).expect("valid");
        assert_eq!(backward(&dims, &[1.0, 2.0, 2.0, 0.0], &[5.0]), [0.0, 5.0, 0.0, 0.0]);
        assert!(forward(&dims, &[1.0, f64::NAN, 2.0, 0.0])[0].is_nan());
        assert_eq!(backward(&dims, &[1.0, f64::NAN, 2.0, 0.0], &[5.0]), [0.0, 5.0, 0.0, 0.0]);
    }

    #[test]
    fn gradient_agrees_with_central_differences() {
        let dims = PoolDims::new([2, 2, 5, 4], [3, 2], [1, 2], [1, 1]).expect("valid");
        let (x, grad) = (values_f64(1, dims.input_len()), values_f64(2, dims.output_len()));
        let numeric = numeric_gradient(|x| dot(&forward(&dims, x), &grad), &x);
        assert_close("x", &backward(&dims, &x, &grad), &numeric, 1e-9);
    }
}
