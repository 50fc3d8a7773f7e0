//! One gate per plane: `y[n, c] = gate[n, c]·x[n, c]`, exactly +0 where the gate is 0.

use super::gated;
use crate::dims::PlaneDims;

/// Returns y (N, C, H, W) of x (N, C, H, W) and gates (N, C).
#[must_use]
pub fn forward(dims: PlaneDims, x: &[f64], gates: &[f64]) -> Vec<f64> {
    (0..dims.len()).map(|i| gated(gates[i / dims.plane], x[i])).collect()
}

/// Returns the gradient of x, (N, C, H, W).
#[must_use]
pub fn backward_x(dims: PlaneDims, gates: &[f64], grad_y: &[f64]) -> Vec<f64> {
    forward(dims, grad_y, gates)
}

/// Returns the gradient of the gates, (N, C): the sum of `grad_y·x` over the plane, also where a
/// gate is 0.
#[must_use]
pub fn backward_gates(dims: PlaneDims, x: &[f64], grad_y: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; dims.batch * dims.channels];
    for i in 0..dims.len() {
        grad[i / dims.plane] += grad_y[i] * x[i];
    }
    grad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    #[test]
    fn an_off_gate_gives_positive_zero() {
        let dims = PlaneDims { batch: 1, channels: 2, plane: 2 };
        let y = forward(dims, &[f64::NAN, -1.0, -1.0, 2.0], &[0.0, 0.5]);
        assert_eq!(y, [0.0, 0.0, -0.5, 1.0]);
        assert!(y[1].is_sign_positive());
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let dims = PlaneDims { batch: 2, channels: 2, plane: 3 };
        let (x, grad) = (values_f64(1, 12), values_f64(2, 12));
        let gates = [0.0, 1.0, 0.3, 0.0];
        let loss = |x: &[f64], gates: &[f64]| dot(&forward(dims, x, gates), &grad);
        let of_x = numeric_gradient(|x| loss(x, &gates), &x);
        assert_close("x", &backward_x(dims, &gates, &grad), &of_x, 1e-9);
        let of_gates = numeric_gradient(|gates| loss(&x, gates), &gates);
        assert_close("gates", &backward_gates(dims, &x, &grad), &of_gates, 1e-9);
    }
}
