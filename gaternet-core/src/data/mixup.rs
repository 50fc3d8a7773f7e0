//! Mixup: pairs of images and of their labels, blended.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_distr::{Beta, Distribution};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Batch;
use crate::nn::one_hot;
use crate::{Error, Result, Tensor, storage};

/// Mixup (Zhang et al. 2018, arXiv 1710.09412): a batch is blended with a permutation of itself, `x
/// = lambda · x[i] + (1 - lambda) · x[j]` and the labels alike, with one
/// `lambda ~ Beta(alpha, alpha)` per batch, as in the authors' code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixup {
    /// How evenly images are blended: 0 not at all, 0.2 to 1 is usual, 1 uniformly.
    pub alpha: f32,
}

/// The random choices of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct MixupDraw {
    /// Share of the sample itself, 0 to 1.
    pub lambda: f32,
    /// (N): the sample that gets the rest.
    pub partners: Vec<usize>,
}

/// A blended batch.
#[derive(Debug, Clone)]
pub struct MixedBatch {
    /// (N, C, H, W).
    pub images: Tensor,
    /// (N, K): the fraction of each class, for
    /// [`soft_cross_entropy`](crate::ops::soft_cross_entropy) or
    /// [`CrossEntropyLoss`](crate::nn::CrossEntropyLoss).
    pub targets: Tensor,
}

impl Mixup {
    /// `Err` unless alpha can be used.
    ///
    /// # Errors
    /// [`Error::Config`] if it is negative or not finite.
    pub fn validate(&self) -> Result<()> {
        if self.alpha.is_finite() && self.alpha >= 0.0 {
            return Ok(());
        }
        let value = self.alpha.to_string();
        Err(Error::Config { field: "mixup alpha", value, rule: "must be finite and not negative" })
    }

    /// The choices for a batch of `batch` samples.
    ///
    /// # Errors
    /// [`Error::Config`] if alpha is out of range.
    pub fn draw(&self, batch: usize, rng: &mut impl Rng) -> Result<MixupDraw> {
        self.validate()?;
        // Beta(0, 0) would be a coin that says 0 or 1: the paper takes it for no mixup.
        let lambda = match Beta::new(self.alpha, self.alpha) {
            Ok(beta) => beta.sample(rng),
            Err(_) => 1.0,
        };
        let mut partners: Vec<usize> = (0..batch).collect();
        partners.shuffle(rng);
        Ok(MixupDraw { lambda, partners })
    }

    /// The batch, blended at random; its labels are of `classes` classes.
    ///
    /// # Errors
    /// [`Error::Config`] if alpha is out of range, [`Error::Shape`] if a label is not below
    /// `classes` or there is not one per image.
    pub fn apply(&self, batch: &Batch, classes: usize, rng: &mut impl Rng) -> Result<MixedBatch> {
        mixup(batch, classes, &self.draw(batch.labels.len(), rng)?)
    }
}

/// The batch, blended as `draw` says.
///
/// # Errors
/// [`Error::Shape`] if a label is not below `classes` or there is not one label and one partner of
/// the batch per image.
pub fn mixup(batch: &Batch, classes: usize, draw: &MixupDraw) -> Result<MixedBatch> {
    let Batch { images, labels } = batch;
    let samples = images.dims().first().copied().unwrap_or(0);
    let partners = &draw.partners;
    if labels.len() != samples
        || partners.len() != samples
        || partners.iter().any(|&partner| partner >= samples)
    {
        return Err(Error::Shape {
            op: "mixup",
            rule: "there must be one label and one partner of the batch per image",
            got: format!(
                "{} labels and partners {partners:?} for {}",
                labels.len(),
                images.shape()
            ),
        });
    }
    let certain = one_hot(labels, classes)?;
    Ok(MixedBatch {
        images: blended(images, samples, draw)?,
        targets: blended(&certain, samples, draw)?,
    })
}

/// `lambda · x[n] + (1 - lambda) · x[partner of n]`.
fn blended(x: &Tensor, samples: usize, draw: &MixupDraw) -> Result<Tensor> {
    let row = x.len().checked_div(samples).unwrap_or(0);
    let mut mixed = storage::take(x.len());
    if row > 0 {
        let (fraction, rest) = (draw.lambda, 1.0 - draw.lambda);
        let rows = mixed.par_chunks_exact_mut(row).zip(x.data().par_chunks_exact(row));
        rows.zip(&draw.partners).for_each(|((mixed, own), &partner)| {
            let other = &x.data()[partner * row..][..row];
            let pixels = mixed.iter_mut().zip(own).zip(other);
            pixels.for_each(|((mixed, own), other)| *mixed = fraction * own + rest * other);
        });
    }
    Tensor::new(mixed, x.shape())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn batch() -> Batch {
        let images = Tensor::new((0..12).map(|i| i as f32).collect(), [3, 1, 2, 2]);
        Batch { images: images.expect("12 pixels"), labels: vec![2, 0, 2] }
    }

    #[test]
    fn images_and_labels_are_blended_alike() {
        let draw = MixupDraw { lambda: 0.75, partners: vec![1, 0, 2] };
        let mixed = mixup(&batch(), 3, &draw).expect("fits");
        #[rustfmt::skip]
        let want = [
            1.0, 2.0, 3.0, 4.0,
            3.0, 4.0, 5.0, 6.0,
            8.0, 9.0, 10.0, 11.0,
        ];
        assert_eq!(mixed.images.data(), want);
        assert_eq!(mixed.targets.data(), [0.25, 0.0, 0.75, 0.75, 0.0, 0.25, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn lambda_is_beta_and_partners_are_a_permutation() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let draw = |_| Mixup { alpha: 0.4 }.draw(5, &mut rng).expect("in range");
        let draws: Vec<MixupDraw> = (0..4000).map(draw).collect();
        let mean = draws.iter().map(|draw| draw.lambda).sum::<f32>() / 4000.0;
        let var = draws.iter().map(|draw| (draw.lambda - mean).powi(2)).sum::<f32>() / 4000.0;
        // Beta(a, a) has the mean 1/2 and the variance 1 / (4 · (2a + 1)).
        let beta = (mean - 0.5).abs() < 0.03 && (var - 1.0 / 7.2).abs() < 0.01;
        assert!(beta, "mean {mean}, variance {var}");
        let tiny = Mixup { alpha: 1e-4 }.draw(5, &mut ChaCha8Rng::seed_from_u64(2));
        assert!((0.0..=1.0).contains(&tiny.expect("in range").lambda));
        let mut partners = draws[0].partners.clone();
        partners.sort_unstable();
        assert_eq!(partners, [0, 1, 2, 3, 4]);
        assert!(draws.iter().any(|draw| draw.partners != draws[0].partners));
    }

    #[test]
    fn alpha_zero_changes_nothing_and_a_bad_one_is_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mixed = Mixup { alpha: 0.0 }.apply(&batch(), 3, &mut rng).expect("in range");
        assert_eq!(mixed.images.data(), batch().images.data());
        for alpha in [-1.0, f32::NAN, f32::INFINITY] {
            let text = Mixup { alpha }.apply(&batch(), 3, &mut rng).expect_err("alpha").to_string();
            assert!(text.contains("mixup alpha"), "{text}");
        }
        assert!(Mixup { alpha: 1.0 }.apply(&batch(), 2, &mut rng).is_err(), "label 2 of 2 classes");
        let draw = MixupDraw { lambda: 0.5, partners: vec![0, 1, 3] };
        assert!(mixup(&batch(), 3, &draw).is_err(), "partner 3 of 3 images");
    }
}
