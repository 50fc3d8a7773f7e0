//! Batch normalisation with the epilogue of a block:
//! `z = weight·(x - mean)/sqrt(var + eps) + bias`, `a = gate·z`, `y = relu(a + residual)`.

use super::gated;
use crate::dims::PlaneDims;

/// The arguments of a batch normalisation but its data. The parts of the epilogue that are absent
/// do nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchNorm<'a> {
    /// The factor of each channel, (C).
    pub weight: &'a [f64],
    /// The term of each channel, (C).
    pub bias: &'a [f64],
    /// The constant that is added to the variance.
    pub eps: f64,
    /// The gates of each plane, (N, C).
    pub gates: Option<&'a [f64]>,
    /// The residual, (N, C, H, W).
    pub residual: Option<&'a [f64]>,
    /// Whether a ReLU comes last.
    pub relu: bool,
}

/// Gradients of all inputs.
#[derive(Debug, Clone)]
pub struct Grads {
    /// The gradient of x, (N, C, H, W).
    pub x: Vec<f64>,
    /// The gradient of the weight, (C).
    pub weight: Vec<f64>,
    /// The gradient of the bias, (C).
    pub bias: Vec<f64>,
    /// The gradient of the gates, (N, C), also where a gate is 0.
    pub gates: Vec<f64>,
    /// The gradient of the residual, (N, C, H, W).
    pub residual: Vec<f64>,
}

/// Returns the mean and biased variance of each channel of x (N, C, H, W).
#[must_use]
pub fn stats(dims: PlaneDims, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let count = (dims.batch * dims.plane) as f64;
    let mut mean = vec![0.0; dims.channels];
    let mut var = vec![0.0; dims.channels];
    for_each(dims, |c, _, i| mean[c] += x[i] / count);
    for_each(dims, |c, _, i| var[c] += (x[i] - mean[c]).powi(2) / count);
    (mean, var)
}

/// Returns y (N, C, H, W) with the statistics given.
#[must_use]
pub fn forward(dims: PlaneDims, bn: &BatchNorm, mean: &[f64], var: &[f64], x: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; dims.len()];
    for_each(dims, |c, plane, i| {
        let z = bn.weight[c] * (x[i] - mean[c]) / (var[c] + bn.eps).sqrt() + bn.bias[c];
        let a = bn.gates.map_or(z, |gates| gated(gates[plane], z));
        let sum = a + bn.residual.map_or(0.0, |residual| residual[i]);
        y[i] = if bn.relu && sum <= 0.0 { 0.0 } else { sum };
    });
    y
}

/// Returns the gradients of [`forward`]; with `batch_stats` those of [`forward`] after [`stats`] of
/// the same x.
#[must_use]
pub fn backward(
    dims: PlaneDims,
    bn: &BatchNorm,
    batch_stats: bool,
    (mean, var): (&[f64], &[f64]),
    x: &[f64],
    grad_y: &[f64],
) -> Grads {
    let y = forward(dims, bn, mean, var, x);
    let planes = dims.batch * dims.channels;
    let inv_std: Vec<f64> = var.iter().map(|var| 1.0 / (var + bn.eps).sqrt()).collect();
    let x_hat = |c: usize, i: usize| (x[i] - mean[c]) * inv_std[c];
    let mut grads = Grads {
        x: vec![0.0; dims.len()],
        weight: vec![0.0; dims.channels],
        bias: vec![0.0; dims.channels],
        gates: vec![0.0; planes],
        residual: vec![0.0; dims.len()],
    };
    let mut grad_z = vec![0.0; dims.len()];
    for_each(dims, |c, plane, i| {
        let grad_a = if bn.relu && y[i] <= 0.0 { 0.0 } else { grad_y[i] };
        grads.residual[i] = grad_a;
        grads.gates[plane] += grad_a * (bn.weight[c] * x_hat(c, i) + bn.bias[c]);
        grad_z[i] = bn.gates.map_or(grad_a, |gates| gated(gates[plane], grad_a));
        grads.bias[c] += grad_z[i];
        // A closed gate takes its plane out of the sum, whatever it holds.
        grads.weight[c] += if grad_z[i] == 0.0 { 0.0 } else { grad_z[i] * x_hat(c, i) };
    });
    let count = (dims.batch * dims.plane) as f64;
    for_each(dims, |c, _, i| {
        let through_stats =
            if batch_stats { (grads.bias[c] + x_hat(c, i) * grads.weight[c]) / count } else { 0.0 };
        grads.x[i] = bn.weight[c] * inv_std[c] * (grad_z[i] - through_stats);
    });
    grads
}

/// Calls `f(channel, plane, index)` for every element; plane is `n·C + channel`.
fn for_each(dims: PlaneDims, mut f: impl FnMut(usize, usize, usize)) {
    for plane in 0..dims.batch * dims.channels {
        for i in 0..dims.plane {
            f(plane % dims.channels, plane, plane * dims.plane + i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    const DIMS: PlaneDims = PlaneDims { batch: 3, channels: 2, plane: 4 };

    #[test]
    fn forward_agrees_with_the_formula_by_hand() {
        let dims = PlaneDims { batch: 3, channels: 1, plane: 1 };
        let x = [1.0, 2.0, 6.0];
        let (mean, var) = stats(dims, &x);
        assert_close("mean", &mean, &[3.0], 1e-15);
        assert_close("var", &var, &[14.0 / 3.0], 1e-15);
        let bn = BatchNorm { weight: &[2.0], bias: &[1.0], eps: 0.5, ..BatchNorm::default() };
        let scale = 2.0 / (14.0f64 / 3.0 + 0.5).sqrt();
        let want = [1.0 - 2.0 * scale, 1.0 - scale, 1.0 + 3.0 * scale];
        assert_close("y", &forward(dims, &bn, &mean, &var, &x), &want, 1e-14);
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let (weight, bias) = (values_f64(1, 2), values_f64(2, 2));
        let residual = values_f64(3, DIMS.len());
        let x = values_f64(4, DIMS.len());
        let grad = values_f64(5, DIMS.len());
        let fixed = (values_f64(6, 2), vec![0.7, 1.3]);
        let gates = [1.0, 0.0, 0.4, 1.0, 0.0, 0.7];
        let whole = BatchNorm {
            weight: &weight,
            bias: &bias,
            eps: 1e-3,
            gates: Some(&gates),
            residual: Some(&residual),
            relu: true,
        };
        let plain = BatchNorm { gates: None, residual: None, relu: false, ..whole };
        for (bn, batch_stats) in [(whole, true), (whole, false), (plain, true), (plain, false)] {
            let stats_of = |x: &[f64]| if batch_stats { stats(DIMS, x) } else { fixed.clone() };
            let loss = |bn: &BatchNorm, x: &[f64]| {
                let (mean, var) = stats_of(x);
                dot(&forward(DIMS, bn, &mean, &var, x), &grad)
            };
            let (mean, var) = stats_of(&x);
            let got = backward(DIMS, &bn, batch_stats, (&mean, &var), &x, &grad);
            let check = |what, got: &[f64], want: Vec<f64>| assert_close(what, got, &want, 1e-7);
            check("x", &got.x, numeric_gradient(|x| loss(&bn, x), &x));
            let of = |weight: &[f64]| loss(&BatchNorm { weight, ..bn }, &x);
            check("weight", &got.weight, numeric_gradient(of, &weight));
            let of = |bias: &[f64]| loss(&BatchNorm { bias, ..bn }, &x);
            check("bias", &got.bias, numeric_gradient(of, &bias));
            if bn.gates.is_some() {
                let of = |gates: &[f64]| loss(&BatchNorm { gates: Some(gates), ..bn }, &x);
                check("gates", &got.gates, numeric_gradient(of, &gates));
                let of = |r: &[f64]| loss(&BatchNorm { residual: Some(r), ..bn }, &x);
                check("residual", &got.residual, numeric_gradient(of, &residual));
            }
        }
    }

    #[test]
    fn an_off_gate_hides_nan() {
        let dims = PlaneDims { batch: 2, channels: 1, plane: 1 };
        let bn = BatchNorm {
            weight: &[1.0],
            bias: &[1.0],
            gates: Some(&[0.0, 1.0]),
            ..BatchNorm::default()
        };
        let x = [f64::NAN, 3.0];
        assert_eq!(forward(dims, &bn, &[0.0], &[1.0], &x), [0.0, 4.0]);
        let got = backward(dims, &bn, false, (&[0.0], &[1.0]), &x, &[1.0, 2.0]);
        assert_eq!((got.x, got.weight, got.bias), (vec![0.0, 2.0], vec![6.0], vec![2.0]));
    }
}
