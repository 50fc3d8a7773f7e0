//! `y = max(x, 0)`; NaN stays NaN.

/// Returns y of x, element by element.
#[must_use]
pub fn forward(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| if x <= 0.0 { 0.0 } else { x }).collect()
}

/// Returns the gradient of x from the output y: `grad_y` where `y > 0`.
#[must_use]
pub fn backward(y: &[f64], grad_y: &[f64]) -> Vec<f64> {
    y.iter().zip(grad_y).map(|(&y, &grad)| if y <= 0.0 { 0.0 } else { grad }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    #[test]
    fn negatives_become_positive_zero() {
        let y = forward(&[-1.0, -0.0, 2.0]);
        assert_eq!(y, [0.0, 0.0, 2.0]);
        assert!(y.iter().all(|y| y.is_sign_positive()), "{y:?}");
        assert!(forward(&[f64::NAN])[0].is_nan());
    }

    #[test]
    fn gradient_agrees_with_central_differences() {
        let (x, grad) = (values_f64(1, 20), values_f64(2, 20));
        let numeric = numeric_gradient(|x| dot(&forward(x), &grad), &x);
        assert_close("x", &backward(&forward(&x), &grad), &numeric, 1e-9);
    }
}
