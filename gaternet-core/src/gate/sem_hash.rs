//! Improved SemHash: binary gates that can be trained.

use rand::{Rng, RngExt};

use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// The randomness of one training batch.
#[derive(Debug, Clone)]
pub struct SemHashDraw {
    /// (N, C), added to the logits.
    pub noise: Tensor,
    /// (N); whether a sample's gates are rounded.
    pub discrete: Vec<bool>,
}

impl SemHashDraw {
    /// Noise from N(0, 1) for each gate, and a fair coin for each sample.
    ///
    /// # Errors
    /// [`Error::Shape`] if the noise would not fit in the address space.
    pub fn sample(batch: usize, gates: usize, rng: &mut impl Rng) -> Result<SemHashDraw> {
        let noise = Tensor::randn([batch, gates], 1.0, rng)?;
        let discrete = (0..batch).map(|_| rng.random()).collect();
        Ok(SemHashDraw { noise, discrete })
    }
}

/// Training gates (N, C) of logits (N, C). With `g = logit + noise`:
/// `1(g > 0)` in samples whose coin says discrete, `max(0, min(1, 1.2 · sigmoid(g) - 0.1))` in the
/// others. The gradient is that of the latter in both (straight through), so it is 0 where the
/// latter is 0 or 1.
///
/// # Errors
/// [`Error::Shape`] if the draw is for another batch or number of gates.
pub(super) fn sem_hash(logits: &Tensor, draw: &SemHashDraw) -> Result<Tensor> {
    let [batch, gates] = ops::dims("sem_hash", "the logits must be (N, C)", logits)?;
    if draw.noise.shape() != logits.shape() || draw.discrete.len() != batch {
        return Err(Error::Shape {
            op: "sem_hash",
            rule: "the draw must be for the logits",
            got: format!(
                "noise {} and {} coins for {}",
                draw.noise.shape(),
                draw.discrete.len(),
                logits.shape()
            ),
        });
    }
    let mut noisy = storage::take(logits.len());
    for ((g, p), e) in noisy.iter_mut().zip(logits.data()).zip(draw.noise.data()) {
        *g = p + e;
    }
    let noisy = Tensor::new(noisy, logits.shape())?;
    let mut values = storage::take(noisy.len());
    if gates > 0 {
        let rows = values.chunks_exact_mut(gates).zip(noisy.data().chunks_exact(gates));
        for ((values, noisy), &discrete) in rows.zip(&draw.discrete) {
            let gate = if discrete { |g| step(g, 0.0) } else { saturated };
            values.iter_mut().zip(noisy).for_each(|(value, &g)| *value = gate(g));
        }
    }
    Tensor::from_op(values, logits.shape(), &[logits], |_| SemHash { noisy })
}

/// A gate of evaluation: 1 where the soft gate `max(0, min(1, 1.2 · sigmoid(logit) - 0.1))`
/// is above 0.49999 (so a logit of exactly 0 is on), else 0; NaN of NaN.
#[must_use]
pub fn hard_gate(logit: f32) -> f32 {
    step(saturated(logit), 0.49999)
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The saturated sigmoid. NaN stays NaN.
fn saturated(x: f32) -> f32 {
    (1.2 * sigmoid(x) - 0.1).clamp(0.0, 1.0)
}

/// `1(x > threshold)`. A gate that is NaN stays NaN: as 0 it would hide a model that has diverged.
pub(super) fn step(x: f32, threshold: f32) -> f32 {
    if x.is_nan() { x } else { f32::from(u8::from(x > threshold)) }
}

#[derive(Debug)]
struct SemHash {
    noisy: Tensor,
}

impl Backward for SemHash {
    fn name(&self) -> &'static str {
        "sem_hash"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_p = storage::take(grad.len());
        for ((out, &g), &grad) in grad_p.iter_mut().zip(self.noisy.data()).zip(grad.data()) {
            let s = sigmoid(g);
            let inside = (0.0..=1.0).contains(&(1.2 * s - 0.1));
            *out = if inside { grad * 1.2 * s * (1.0 - s) } else { 0.0 };
        }
        Ok(vec![Some(Tensor::new(grad_p, grad.shape())?)])
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn row(values: &[f32]) -> Tensor {
        Tensor::new(values.to_vec(), [1, values.len()]).expect("one row")
    }

    fn draw(noise: &[f32], discrete: bool) -> SemHashDraw {
        SemHashDraw { noise: row(noise), discrete: vec![discrete] }
    }

    #[test]
    fn a_logit_of_exactly_zero_is_on_in_evaluation() {
        let gates = [0.0, -1e-4, 1e-4, -3.0, 3.0].map(hard_gate);
        assert_eq!(gates, [1.0, 0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn a_sample_is_discrete_or_soft_as_a_whole() {
        let p = row(&[0.5, -0.5, 0.0, 9.0, -9.0]);
        let noise = [0.25; 5];
        let gates = sem_hash(&p, &draw(&noise, true)).expect("shapes fit");
        assert_eq!(gates.data(), [1.0, 0.0, 1.0, 1.0, 0.0]);
        let gates = sem_hash(&p, &draw(&noise, false)).expect("shapes fit");
        let want = |g: f64| (1.2 / (1.0 + (-g).exp()) - 0.1).clamp(0.0, 1.0);
        for (i, (&got, &p)) in gates.data().iter().zip(p.data()).enumerate() {
            let want = want(f64::from(p) + 0.25);
            assert!((f64::from(got) - want).abs() < 1e-6, "gate {i}: {got}, expected {want}");
        }
    }

    #[test]
    fn the_gradient_is_the_soft_gates_either_way_and_zero_where_they_saturate() {
        let slope = |g: f64| {
            let s = 1.0 / (1.0 + (-g).exp());
            if g.abs() > 2.398 { 0.0 } else { 1.2 * s * (1.0 - s) }
        };
        for discrete in [true, false] {
            let p = row(&[0.5, -0.5, 0.0, 2.3, 2.5, -2.3, -2.5, -90.0, 90.0]).leaf();
            let gates = sem_hash(&p, &draw(&[0.0; 9], discrete)).expect("shapes fit");
            let grads = ops::sum(&gates).and_then(|loss| loss.backward()).expect("in a graph");
            let grad = grads.of(&p).expect("a leaf");
            for (&got, &p) in grad.data().iter().zip(p.data()) {
                let want = slope(f64::from(p));
                assert!((f64::from(got) - want).abs() < 1e-6, "at {p}: {got}, expected {want}");
            }
        }
    }

    #[test]
    fn coins_are_fair_and_the_same_for_a_seed() {
        let sample = |seed| {
            SemHashDraw::sample(4000, 1, &mut ChaCha8Rng::seed_from_u64(seed)).expect("small")
        };
        let heads = sample(1).discrete.iter().filter(|&&d| d).count();
        assert!((1850..2150).contains(&heads), "{heads} of 4000");
        assert_eq!(sample(2).noise.data(), sample(2).noise.data());
        assert_ne!(sample(2).noise.data(), sample(3).noise.data());
    }

    #[test]
    fn nan_shows() {
        let p = row(&[f32::NAN]);
        assert!(hard_gate(f32::NAN).is_nan());
        for discrete in [true, false] {
            assert!(sem_hash(&p, &draw(&[0.0], discrete)).expect("fits").data()[0].is_nan());
        }
    }

    #[test]
    fn a_draw_for_another_batch_is_refused() {
        let error = sem_hash(&row(&[0.0, 1.0]), &draw(&[0.0], true)).expect_err("1 is not 2");
        assert!(error.to_string().contains("noise (1, 1) and 1 coins for (1, 2)"), "{error}");
    }
}
