//! The loss of a classifier, of labels or of distributions.

use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// What the logits (N, K) of a batch should say.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// (N): the class of each sample.
    Labels(&'a [usize]),
    /// (N, K): a distribution over the classes for each sample, as mixup makes them.
    Probabilities(&'a Tensor),
}

impl<'a> From<&'a [usize]> for Targets<'a> {
    fn from(labels: &'a [usize]) -> Targets<'a> {
        Targets::Labels(labels)
    }
}

impl<'a> From<&'a Vec<usize>> for Targets<'a> {
    fn from(labels: &'a Vec<usize>) -> Targets<'a> {
        Targets::Labels(labels)
    }
}

impl<'a> From<&'a Tensor> for Targets<'a> {
    fn from(probabilities: &'a Tensor) -> Targets<'a> {
        Targets::Probabilities(probabilities)
    }
}

/// `torch.nn.CrossEntropyLoss`: the mean cross entropy of a batch, with label smoothing (Szegedy et
/// al. 2016): the targets are `(1 - label_smoothing) · target + label_smoothing / K`. By default
/// without.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrossEntropyLoss {
    label_smoothing: f32,
}

impl CrossEntropyLoss {
    /// # Errors
    /// [`Error::Config`] if the smoothing is not in [0, 1].
    pub fn new(label_smoothing: f32) -> Result<CrossEntropyLoss> {
        if !(0.0..=1.0).contains(&label_smoothing) {
            return Err(Error::Config {
                field: "label_smoothing",
                value: label_smoothing.to_string(),
                rule: "must be 0 to 1",
            });
        }
        Ok(CrossEntropyLoss { label_smoothing })
    }

    /// The loss, shape `()`, of logits (N, K).
    ///
    /// # Errors
    /// Those of [`ops::cross_entropy`] and [`ops::soft_cross_entropy`].
    pub fn forward<'a>(&self, logits: &Tensor, targets: impl Into<Targets<'a>>) -> Result<Tensor> {
        match targets.into() {
            Targets::Labels(labels) if self.label_smoothing == 0.0 => {
                ops::cross_entropy(logits, labels)
            }
            Targets::Labels(labels) => {
                let [_, classes] = ops::dims("cross_entropy", "the logits must be (N, K)", logits)?;
                let certain = one_hot(labels, classes)?;
                ops::soft_cross_entropy(logits, &self.smoothed(&certain, classes)?)
            }
            Targets::Probabilities(targets) if self.label_smoothing == 0.0 => {
                ops::soft_cross_entropy(logits, targets)
            }
            Targets::Probabilities(targets) => {
                let [_, classes] =
                    ops::dims("cross_entropy", "the targets must be (N, K)", targets)?;
                ops::soft_cross_entropy(logits, &self.smoothed(targets, classes)?)
            }
        }
    }

    fn smoothed(&self, targets: &Tensor, classes: usize) -> Result<Tensor> {
        let (kept, floor) = (1.0 - self.label_smoothing, self.label_smoothing / classes as f32);
        let mut smoothed = storage::take(targets.len());
        let pairs = smoothed.iter_mut().zip(targets.data());
        pairs.for_each(|(smoothed, target)| *smoothed = kept * target + floor);
        Tensor::new(smoothed, targets.shape())
    }
}

/// (N, K): 1 at the label of each row, else 0: `torch.nn.functional.one_hot`.
///
/// # Errors
/// [`Error::Shape`] if a label is not below `classes`.
pub fn one_hot(labels: &[usize], classes: usize) -> Result<Tensor> {
    if let Some(sample) = labels.iter().position(|&label| label >= classes) {
        return Err(Error::Shape {
            op: "one_hot",
            rule: "a label must be below the number of classes",
            got: format!("label {} of sample {sample}, with {classes} classes", labels[sample]),
        });
    }
    let mut rows = storage::take_zeroed(labels.len() * classes);
    labels.iter().enumerate().for_each(|(n, &label)| rows[n * classes + label] = 1.0);
    Tensor::new(rows, [labels.len(), classes])
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn logits() -> Tensor {
        Tensor::new(vec![1.0, 2.0, 3.0, 0.5, -1.0, 0.0], [2, 3]).expect("6 values")
    }

    fn loss(smoothing: f32, targets: Targets<'_>) -> f32 {
        let criterion = CrossEntropyLoss::new(smoothing).expect("in range");
        criterion.forward(&logits(), targets).and_then(|loss| loss.item()).expect("fits")
    }

    #[test]
    fn labels_and_their_distributions_cost_the_same() {
        let labels = [2, 0];
        let certain = one_hot(&labels, 3).expect("3 classes");
        for smoothing in [0.0, 0.1, 1.0] {
            let (hard, soft) =
                (loss(smoothing, (&labels[..]).into()), loss(smoothing, (&certain).into()));
            assert!((hard - soft).abs() < 1e-6, "{smoothing}: {hard} and {soft}");
        }
    }

    /// `F.cross_entropy(logits, torch.tensor([2, 0]), label_smoothing=0.1)`: by hand
    /// `0.9 · nll + 0.1 · mean(-log p)` of each row.
    #[test]
    fn smoothing_is_that_of_pytorch() {
        let rows = [([1.0f64, 2.0, 3.0], 2), ([0.5, -1.0, 0.0], 0)];
        let of_row = |(row, label): ([f64; 3], usize)| {
            let log_sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            let uniform = row.iter().map(|x| log_sum - x).sum::<f64>() / 3.0;
            0.9 * (log_sum - row[label]) + 0.1 * uniform
        };
        let want = rows.map(of_row).iter().sum::<f64>() / 2.0;
        let got = f64::from(loss(0.1, Targets::Labels(&[2, 0])));
        assert_abs_diff_eq!(got, want, epsilon = 1e-6);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for smoothing in [-0.1, 1.1, f32::NAN] {
            let text = CrossEntropyLoss::new(smoothing).expect_err("out of range").to_string();
            assert!(text.contains("label_smoothing"), "{text}");
        }
        let smooth = CrossEntropyLoss::new(0.1).expect("in range");
        let text = smooth.forward(&logits(), &vec![0, 3]).expect_err("class 3 of 3").to_string();
        assert!(text.contains("label 3 of sample 1"), "{text}");
        assert!(smooth.forward(&logits(), &vec![0]).is_err(), "one label of two");
        let wide = Tensor::zeros([2, 4]).expect("small");
        assert!(smooth.forward(&logits(), &wide).is_err(), "4 classes for 3");
    }
}
