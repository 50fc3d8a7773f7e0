//! Binary concrete gates, also known as Gumbel-sigmoid.

use rand::{Rng, RngExt};

use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::gate::sem_hash::{sigmoid, step};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// (N, C), each from the logistic distribution: `ln u - ln(1 - u)` with u uniform, the difference
/// of two Gumbel variables.
///
/// # Errors
/// [`Error::Shape`] if it would not fit in the address space.
pub(super) fn logistic_noise(batch: usize, gates: usize, rng: &mut impl Rng) -> Result<Tensor> {
    let mut noise = Tensor::zeros([batch, gates])?;
    for noise in noise.data_mut() {
        // The middles of 2^24 equal parts of (0, 1): never 0 or 1, whose noise would be infinite.
        let part = f64::from(rng.random::<u32>() >> 8);
        let u = (part + 0.5) / f64::from(1 << 24);
        *noise = (u.ln() - (-u).ln_1p()) as f32;
    }
    Ok(noise)
}

/// The training gates (N, C) of [`Estimator::GumbelSigmoid`](super::Estimator::GumbelSigmoid), of
/// logistic noise (N, C).
///
/// # Errors
/// [`Error::Shape`] if the noise is not for the logits, [`Error::Config`] if tau is not
/// positive and finite.
pub(super) fn gumbel_sigmoid(
    logits: &Tensor,
    noise: &Tensor,
    tau: f32,
    hard: bool,
) -> Result<Tensor> {
    let op = "gumbel_sigmoid";
    ops::check_shape(op, "the noise must be for the logits", noise, logits.shape())?;
    if !(tau.is_finite() && tau > 0.0) {
        let rule = "must be positive and finite";
        return Err(Error::Config { field: "tau", value: tau.to_string(), rule });
    }
    let mut soft = storage::take(logits.len());
    for ((soft, p), e) in soft.iter_mut().zip(logits.data()).zip(noise.data()) {
        *soft = sigmoid((p + e) / tau);
    }
    let soft = Tensor::new(soft, logits.shape())?;
    let mut gates = storage::take(logits.len());
    if hard {
        for ((gate, p), e) in gates.iter_mut().zip(logits.data()).zip(noise.data()) {
            *gate = step(p + e, 0.0);
        }
    } else {
        gates.copy_from_slice(soft.data());
    }
    Tensor::from_op(gates, logits.shape(), &[logits], |_| GumbelSigmoid { soft, tau })
}

#[derive(Debug)]
struct GumbelSigmoid {
    /// The soft gates.
    soft: Tensor,
    tau: f32,
}

impl Backward for GumbelSigmoid {
    fn name(&self) -> &'static str {
        "gumbel_sigmoid"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_p = storage::take(grad.len());
        for ((out, &s), &grad) in grad_p.iter_mut().zip(self.soft.data()).zip(grad.data()) {
            *out = grad * s * (1.0 - s) / self.tau;
        }
        Ok(vec![Some(Tensor::new(grad_p, grad.shape())?)])
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn noise(batch: usize) -> Tensor {
        logistic_noise(batch, 4, &mut ChaCha8Rng::seed_from_u64(1)).expect("small")
    }

    #[test]
    fn noise_is_logistic() {
        let noise = noise(10_000);
        let n = noise.len() as f64;
        let below = |x: f32| noise.data().iter().filter(|&&e| e < x).count() as f64 / n;
        for x in [-3.0, -1.0, 0.0, 0.5, 2.0f32] {
            let want = 1.0 / (1.0 + f64::from(-x).exp());
            assert!((below(x) - want).abs() < 0.01, "{} below {x}, expected {want}", below(x));
        }
    }

    #[test]
    fn hard_gates_are_open_with_the_probability_of_the_sigmoid_at_any_temperature() {
        let logits = Tensor::new([-2.0, 0.0, 0.5, 3.0].repeat(10_000), [10_000, 4]);
        let logits = logits.expect("40,000 values");
        for tau in [0.1, 1.0, 5.0] {
            let gates = gumbel_sigmoid(&logits, &noise(10_000), tau, true).expect("fits");
            for (i, &p) in logits.data()[..4].iter().enumerate() {
                let open = gates.data().iter().skip(i).step_by(4).sum::<f32>() / 10_000.0;
                let want = 1.0 / (1.0 + (-p).exp());
                assert!((open - want).abs() < 0.02, "{open} of gates of {p}, expected {want}");
            }
        }
    }

    #[test]
    fn hard_gates_have_the_gradient_of_soft_ones() {
        let logits = Tensor::new(vec![-1.0, 0.2, 0.7, 2.0], [1, 4]).expect("4 values").leaf();
        let gradient = |hard| {
            let gates = gumbel_sigmoid(&logits, &noise(1), 0.5, hard).expect("fits");
            let grads = ops::sum(&gates).and_then(|loss| loss.backward()).expect("in a graph");
            grads.of(&logits).expect("a leaf").data().to_vec()
        };
        assert_eq!(gradient(true), gradient(false));
    }

    #[test]
    fn noise_of_another_batch_is_refused() {
        let logits = Tensor::zeros([2, 4]).expect("small");
        let error = gumbel_sigmoid(&logits, &noise(3), 1.0, true).expect_err("3 is not 2");
        assert!(error.to_string().contains("(3, 4) for (2, 4)"), "{error}");
    }
}
