//! How open the gates of a batch are, layer by layer.

use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// The mean gate of every gated layer (slot) in every sample: what a [`GateCost`](super::GateCost)
/// goes by. With gates of 0 and 1 it is the fraction of the slot's filters that run.
#[derive(Debug, Clone, PartialEq)]
pub struct GateDensities {
    /// (slots, N)
    slots: Vec<Vec<f64>>,
    batch: usize,
}

impl GateDensities {
    /// The densities of gates (N, C), whose columns belong to slots of these widths, in order.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no gate, a slot is empty or the widths do not add up to C.
    pub fn new(gates: &Tensor, widths: &[usize]) -> Result<GateDensities> {
        GateDensities::of("gate_densities", gates, widths)
    }

    /// [`new`](Self::new) for the op that an error names.
    pub(super) fn of(op: &'static str, gates: &Tensor, widths: &[usize]) -> Result<GateDensities> {
        let [batch, total] = ops::dims(op, "the gates must be (N, C)", gates)?;
        let sum = widths.iter().try_fold(0usize, |sum, &width| sum.checked_add(width));
        if sum != Some(total) || gates.is_empty() || widths.contains(&0) {
            return Err(Error::Shape {
                op,
                rule: "the slots' widths must add up to the gates, and neither may be empty",
                got: format!("widths {widths:?} for {}", gates.shape()),
            });
        }
        let mut start = 0;
        let slot = |&width: &usize| {
            let columns = start..start + width;
            start += width;
            let mean = |row: &[f32]| {
                row[columns.clone()].iter().copied().map(f64::from).sum::<f64>() / width as f64
            };
            gates.data().chunks_exact(total).map(mean).collect()
        };
        Ok(GateDensities { slots: widths.iter().map(slot).collect(), batch })
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Number of samples N, at least 1.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The density of slot `index` in each sample, (N).
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn slot(&self, index: usize) -> &[f64] {
        &self.slots[index]
    }

    /// The mean density of each slot over the batch, (slots).
    #[must_use]
    pub fn means(&self) -> Vec<f64> {
        let mean = |slot: &Vec<f64>| slot.iter().sum::<f64>() / self.batch as f64;
        self.slots.iter().map(mean).collect()
    }

    /// The gradient of the gates (N, C) from `grads` (slots, N), that of the densities.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `grads` is (slots, N).
    pub(super) fn spread(
        &self,
        op: &'static str,
        grads: &[Vec<f64>],
        widths: &[usize],
    ) -> Result<Vec<f32>> {
        if grads.len() != self.slots() || grads.iter().any(|slot| slot.len() != self.batch) {
            return Err(Error::Shape {
                op,
                rule: "the gradient of a cost must have a number for each slot and sample",
                got: format!(
                    "{:?} for {} slots and {} samples",
                    grads.iter().map(Vec::len).collect::<Vec<_>>(),
                    self.slots(),
                    self.batch
                ),
            });
        }
        let total: usize = widths.iter().sum();
        let mut grad_gates = storage::take(self.batch * total);
        for (n, mut row) in grad_gates.chunks_exact_mut(total).enumerate() {
            for (grads, &width) in grads.iter().zip(widths) {
                let (slot, rest) = row.split_at_mut(width);
                slot.fill((grads[n] / width as f64) as f32);
                row = rest;
            }
        }
        Ok(grad_gates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_density_is_the_mean_gate_of_a_slot_in_a_sample() {
        let gates = vec![1.0, 0.0, 1.0, 0.0, 0.5, 0.25];
        let gates = Tensor::new(gates, [2, 3]).expect("6 values");
        let densities = GateDensities::new(&gates, &[1, 2]).expect("1 + 2 = 3");
        assert_eq!((densities.slots(), densities.batch()), (2, 2));
        assert_eq!((densities.slot(0), densities.slot(1)), (&[1.0, 0.0][..], &[0.5, 0.375][..]));
        assert_eq!(densities.means(), [0.5, 0.4375]);
        for widths in [&[1, 1][..], &[3, 0], &[usize::MAX, 4]] {
            let text = GateDensities::new(&gates, widths).expect_err("no slots").to_string();
            assert!(text.contains("for (2, 3)"), "{text}");
        }
    }
}
