//! How open the gates of a batch are, layer by layer.

use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// The mean gate of every gated layer in every sample: what a [`GateCost`](super::GateCost)
/// goes by. With gates of 0 and 1 it is the fraction of the layer's filters that run.
#[derive(Debug, Clone, PartialEq)]
pub struct GateDensities {
    /// (layers, N)
    layers: Vec<Vec<f64>>,
    batch: usize,
}

impl GateDensities {
    /// The densities of gates (N, C), whose columns belong to layers of these widths, in order.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no gate, a layer is empty or the widths do not add up to C.
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
                rule: "the layers' widths must add up to the gates, and neither may be empty",
                got: format!("widths {widths:?} for {}", gates.shape()),
            });
        }
        let mut start = 0;
        let layer = |&width: &usize| {
            let columns = start..start + width;
            start += width;
            let mean = |row: &[f32]| {
                row[columns.clone()].iter().copied().map(f64::from).sum::<f64>() / width as f64
            };
            gates.data().chunks_exact(total).map(mean).collect()
        };
        Ok(GateDensities { layers: widths.iter().map(layer).collect(), batch })
    }

    /// Number of gated layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Number of samples N, at least 1.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The density of layer `index` in each sample, (N).
    ///
    /// # Panics
    /// If there is no such layer.
    #[must_use]
    pub fn layer(&self, index: usize) -> &[f64] {
        &self.layers[index]
    }

    /// The mean density of each layer over the batch, (layers).
    #[must_use]
    pub fn means(&self) -> Vec<f64> {
        let mean = |layer: &Vec<f64>| layer.iter().sum::<f64>() / self.batch as f64;
        self.layers.iter().map(mean).collect()
    }

    /// The gradient of the gates (N, C) from `grads` (layers, N), that of the densities.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `grads` is (layers, N).
    pub(super) fn spread(
        &self,
        op: &'static str,
        grads: &[Vec<f64>],
        widths: &[usize],
    ) -> Result<Vec<f32>> {
        if grads.len() != self.layers() || grads.iter().any(|layer| layer.len() != self.batch) {
            return Err(Error::Shape {
                op,
                rule: "the gradient of a cost must have a number for each layer and sample",
                got: format!(
                    "{:?} for {} layers and {} samples",
                    grads.iter().map(Vec::len).collect::<Vec<_>>(),
                    self.layers(),
                    self.batch
                ),
            });
        }
        let total: usize = widths.iter().sum();
        let mut grad_gates = storage::take(self.batch * total);
        for (n, mut row) in grad_gates.chunks_exact_mut(total).enumerate() {
            for (grads, &width) in grads.iter().zip(widths) {
                let (layer, rest) = row.split_at_mut(width);
                layer.fill((grads[n] / width as f64) as f32);
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
    fn a_density_is_the_mean_gate_of_a_layer_in_a_sample() {
        let gates = vec![1.0, 0.0, 1.0, 0.0, 0.5, 0.25];
        let gates = Tensor::new(gates, [2, 3]).expect("6 values");
        let densities = GateDensities::new(&gates, &[1, 2]).expect("1 + 2 = 3");
        assert_eq!((densities.layers(), densities.batch()), (2, 2));
        assert_eq!((densities.layer(0), densities.layer(1)), (&[1.0, 0.0][..], &[0.5, 0.375][..]));
        assert_eq!(densities.means(), [0.5, 0.4375]);
        for widths in [&[1, 1][..], &[3, 0], &[usize::MAX, 4]] {
            let text = GateDensities::new(&gates, widths).expect_err("no layers").to_string();
            assert!(text.contains("for (2, 3)"), "{text}");
        }
    }
}
