//! `y = x·weightᵀ + bias`: x (N, I), weight (O, I), bias (O), y (N, O).

use crate::dims::LinearDims;

/// Returns y (N, O).
#[must_use]
pub fn forward(dims: LinearDims, x: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let mut y = vec![0.0; dims.batch * dims.out_features];
    for_each(dims, |n, o, i| {
        y[n * dims.out_features + o] +=
            x[n * dims.in_features + i] * weight[o * dims.in_features + i];
    });
    if let Some(bias) = bias {
        y.chunks_mut(dims.out_features.max(1))
            .for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
    }
    y
}

/// Returns the gradient of x, (N, I).
#[must_use]
pub fn backward_input(dims: LinearDims, grad_y: &[f64], weight: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; dims.batch * dims.in_features];
    for_each(dims, |n, o, i| {
        grad[n * dims.in_features + i] +=
            grad_y[n * dims.out_features + o] * weight[o * dims.in_features + i];
    });
    grad
}

/// Returns the gradient of the weight, (O, I).
#[must_use]
pub fn backward_weight(dims: LinearDims, x: &[f64], grad_y: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; dims.out_features * dims.in_features];
    for_each(dims, |n, o, i| {
        grad[o * dims.in_features + i] +=
            grad_y[n * dims.out_features + o] * x[n * dims.in_features + i];
    });
    grad
}

/// Returns the gradient of the bias, (O).
#[must_use]
pub fn backward_bias(dims: LinearDims, grad_y: &[f64]) -> Vec<f64> {
    let column = |o| grad_y.iter().skip(o).step_by(dims.out_features).sum();
    (0..dims.out_features).map(column).collect()
}

fn for_each(dims: LinearDims, mut f: impl FnMut(usize, usize, usize)) {
    for n in 0..dims.batch {
        for o in 0..dims.out_features {
            for i in 0..dims.in_features {
                f(n, o, i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    #[test]
    fn forward_is_rows_times_rows() {
        let dims = LinearDims { batch: 1, in_features: 2, out_features: 2 };
        let y = forward(dims, &[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0], Some(&[0.5, -1.0]));
        assert_eq!(y, [11.5, 16.0]);
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let dims = LinearDims { batch: 3, in_features: 4, out_features: 2 };
        let (x, weight, bias) = (values_f64(1, 12), values_f64(2, 8), values_f64(3, 2));
        let grad = values_f64(4, 6);
        let loss = |x: &[f64], w: &[f64], b: &[f64]| dot(&forward(dims, x, w, Some(b)), &grad);
        let numeric = numeric_gradient(|x| loss(x, &weight, &bias), &x);
        assert_close("x", &backward_input(dims, &grad, &weight), &numeric, 1e-9);
        let numeric = numeric_gradient(|w| loss(&x, w, &bias), &weight);
        assert_close("weight", &backward_weight(dims, &x, &grad), &numeric, 1e-9);
        let numeric = numeric_gradient(|b| loss(&x, &weight, b), &bias);
        assert_close("bias", &backward_bias(dims, &grad), &numeric, 1e-9);
    }
}
