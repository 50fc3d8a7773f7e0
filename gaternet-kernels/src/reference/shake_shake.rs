//! A weighted mean of two inputs, with a weight of its own for each sample.

/// Returns `y[n] = weights[n]·a[n] + (1 - weights[n])·b[n]` for a and b of as many rows as there
/// are weights.
#[must_use]
pub fn forward(weights: &[f64], a: &[f64], b: &[f64]) -> Vec<f64> {
    let row = a.len() / weights.len();
    let mix =
        |(i, (a, b)): (usize, (&f64, &f64))| weights[i / row] * a + (1.0 - weights[i / row]) * b;
    a.iter().zip(b).enumerate().map(mix).collect()
}

/// Returns the gradients of a and b from that of y, with these weights.
#[must_use]
pub fn backward(weights: &[f64], grad_y: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let row = grad_y.len() / weights.len();
    let fraction =
        |(i, grad): (usize, &f64)| (weights[i / row] * grad, (1.0 - weights[i / row]) * grad);
    grad_y.iter().enumerate().map(fraction).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    #[test]
    fn gradients_agree_with_central_differences() {
        let weights = [0.0, 0.3, 1.0];
        let [a, b, grad] = [1, 2, 3].map(|seed| values_f64(seed, 12));
        let (of_a, of_b) = backward(&weights, &grad);
        let numeric = numeric_gradient(|a| dot(&forward(&weights, a, &b), &grad), &a);
        assert_close("a", &of_a, &numeric, 1e-9);
        let numeric = numeric_gradient(|b| dot(&forward(&weights, &a, b), &grad), &b);
        assert_close("b", &of_b, &numeric, 1e-9);
    }
}
