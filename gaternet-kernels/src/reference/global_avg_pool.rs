//! Average pooling of whole planes.

use crate::dims::PlaneDims;

/// Returns the mean of each plane of x (N, C, H, W), (N, C).
#[must_use]
pub fn forward(dims: PlaneDims, x: &[f64]) -> Vec<f64> {
    x.chunks(dims.plane).map(|plane| plane.iter().sum::<f64>() / dims.plane as f64).collect()
}

/// Returns the gradient of x, (N, C, H, W), of `grad_y` (N, C).
#[must_use]
pub fn backward(dims: PlaneDims, grad_y: &[f64]) -> Vec<f64> {
    (0..dims.len()).map(|i| grad_y[i / dims.plane] / dims.plane as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    #[test]
    fn gradient_agrees_with_central_differences() {
        let dims = PlaneDims { batch: 2, channels: 3, plane: 5 };
        let (x, grad) = (values_f64(3, 30), values_f64(4, 6));
        let numeric = numeric_gradient(|x| dot(&forward(dims, x), &grad), &x);
        assert_close("x", &backward(dims, &grad), &numeric, 1e-9);
    }
}
