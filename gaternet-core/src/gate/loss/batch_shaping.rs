//! Batch-shaping: a distribution over the batch for every gate.

use rayon::prelude::*;

use super::beta::Beta;
use super::with_gradient;
use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// Nearer to 0 and 1 than this, the density of the prior could be infinite.
const MARGIN: f64 = 1e-6;

/// The Cramér-von-Mises distance of each gate's probabilities over the batch from the distribution
/// Beta(a, b), the mean over the gates, shape `()`, of probabilities (N, C):
///
/// ```text
/// mean over i of mean over r = 1..N of (F(x_r) - r / (N + 1))²
/// ```
///
/// where `x_1 <= x_2 <= ...` are the sorted probabilities of gate i and F is the distribution
/// function of Beta(a, b). The gradient of `x_r` is `2 / (N · C) · (F(x_r) - r / (N + 1)) · f(x_r)`
/// with the density f; within 1e-6 of 0 and 1 that of the margin. Ehteshami Bejnordi, Blankevoort &
/// Welling 2020 (arXiv 1907.06627).
///
/// # Errors
/// [`Error::Config`] if a or b is not above 0 and at most 100, [`Error::Shape`] if there is no
/// gate.
pub fn batch_shaping(probabilities: &Tensor, a: f64, b: f64) -> Result<Tensor> {
    let op = "batch_shaping";
    let prior = Beta::new(a, b)?;
    let [batch, gates] = ops::dims(op, "the probabilities must be (N, C)", probabilities)?;
    if probabilities.is_empty() {
        let got = probabilities.shape().to_string();
        return Err(Error::Shape { op, rule: "there must be a gate", got });
    }
    let x = probabilities.data();
    // Column by column: the loss of each, and its gradients by sample.
    let columns: Vec<(f64, Vec<f32>)> = (0..gates)
        .into_par_iter()
        .map(|gate| shape_gate(&prior, (0..batch).map(|n| x[n * gates + gate]), gates))
        .collect();
    let mut grad = storage::take(x.len());
    let mut loss = 0.0;
    for (gate, (of_gate, grads)) in columns.into_iter().enumerate() {
        loss += of_gate;
        grads.iter().enumerate().for_each(|(n, &of_sample)| grad[n * gates + gate] = of_sample);
    }
    with_gradient(op, loss / x.len() as f64, probabilities, grad)
}

/// The sum of squares of one gate, and its gradients by sample.
fn shape_gate(
    prior: &Beta,
    probabilities: impl Iterator<Item = f32>,
    gates: usize,
) -> (f64, Vec<f32>) {
    let x: Vec<f64> = probabilities.map(f64::from).collect();
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let each = 2.0 / (x.len() * gates) as f64;
    let (mut loss, mut grads) = (0.0, vec![0.0; x.len()]);
    for (rank, n) in order.into_iter().enumerate() {
        let at = x[n].clamp(MARGIN, 1.0 - MARGIN);
        let distance = prior.cdf(at) - (rank + 1) as f64 / (x.len() + 1) as f64;
        loss += distance * distance;
        grads[n] = (each * distance * prior.pdf(at)) as f32;
    }
    (loss, grads)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// scipy: `np.mean((betainc(.6, .4, np.sort(p, 0)) - (np.arange(1, 4) / 4)[:, None]) ** 2)`
    #[test]
    fn the_loss_agrees_with_scipy() {
        let p = Tensor::new(vec![0.2, 0.9, 0.7, 0.1, 0.4, 0.5], [3, 2]).expect("6 values");
        let loss = batch_shaping(&p, 0.6, 0.4).and_then(|loss| loss.item()).expect("fits");
        assert_abs_diff_eq!(loss, 0.019_963_47, epsilon = 1e-7);
    }

    #[test]
    fn gates_of_the_prior_cost_nothing_and_constant_gates_are_spread() {
        let uniform = Tensor::new(vec![0.75, 0.25, 0.5], [3, 1]).expect("3 values");
        let loss = batch_shaping(&uniform, 1.0, 1.0).and_then(|loss| loss.item()).expect("fits");
        assert_abs_diff_eq!(loss, 0.0, epsilon = 1e-12);

        let always = Tensor::full([3, 1], 1.0).expect("small").leaf();
        let loss = batch_shaping(&always, 0.6, 0.4).expect("fits");
        assert!(loss.item().expect("a scalar") > 0.1);
        let grads = loss.backward().expect("in a graph");
        let grad = grads.of(&always).expect("a leaf").data();
        // All are pulled down, the first in the order most; at a density of infinity, but finitely.
        assert!(grad.iter().all(|g| g.is_finite() && *g > 0.0), "{grad:?}");
        assert!(grad.is_sorted_by(|a, b| a > b), "{grad:?}");
    }

    #[test]
    fn nan_shows_and_nothing_is_refused() {
        let nan = Tensor::new(vec![f32::NAN, 0.5], [2, 1]).expect("2 values");
        let loss = batch_shaping(&nan, 0.6, 0.4).and_then(|loss| loss.item()).expect("fits");
        assert!(loss.is_nan());
        assert!(batch_shaping(&Tensor::zeros([0, 3]).expect("small"), 1.0, 1.0).is_err());
        assert!(batch_shaping(&nan, 0.0, 1.0).is_err());
    }
}
