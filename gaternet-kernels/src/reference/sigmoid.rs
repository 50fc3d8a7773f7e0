//! `y = 1 / (1 + exp(-x))`; NaN stays NaN.

/// Returns y of x, element by element.
#[must_use]
pub fn forward(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| 1.0 / (1.0 + (-x).exp())).collect()
}

/// Returns the gradient of x from the output y: `grad_y · y · (1 - y)`.
#[must_use]
pub fn backward(y: &[f64], grad_y: &[f64]) -> Vec<f64> {
    y.iter().zip(grad_y).map(|(&y, &grad)| grad * y * (1.0 - y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    #[test]
    fn gradient_agrees_with_central_differences() {
        let (x, grad) = (values_f64(1, 20), values_f64(2, 20));
        let numeric = numeric_gradient(|x| dot(&forward(x), &grad), &x);
        assert_close("x", &backward(&forward(&x), &grad), &numeric, 1e-9);
    }
}
