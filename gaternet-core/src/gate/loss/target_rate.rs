//! A fraction of open gates for every layer.

use super::{GateDensities, fraction, with_gradient};
use crate::error::Result;
use crate::tensor::Tensor;

/// `mean over layers of (mean over n and the layer's gates of gates[n, i] - target)²`, shape `()`,
/// of gates (N, C): each layer is to be open at one rate over the batch, while a sample may open
/// more or fewer. The loss of ConvNet-AIG (Veit & Belongie 2018, arXiv 1711.11503), there with a
/// gate per layer. For a known fraction of open gates, the same in every layer.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if the target is not 0 to 1,
/// [`Error::Shape`](crate::Error::Shape) if there is no gate or the widths do not add up to C.
pub fn target_rate(gates: &Tensor, widths: &[usize], target: f64) -> Result<Tensor> {
    fraction("target_rate", target)?;
    let densities = GateDensities::of("target_rate", gates, widths)?;
    let (batch, layers) = (densities.batch(), densities.layers() as f64);
    let mut loss = 0.0;
    let grad = |mean: f64| {
        let excess = mean - target;
        loss += excess * excess / layers;
        vec![2.0 * excess / (layers * batch as f64); batch]
    };
    let grads: Vec<Vec<f64>> = densities.means().into_iter().map(grad).collect();
    with_gradient("target_rate", loss, gates, densities.spread("target_rate", &grads, widths)?)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn every_layer_counts_alike_however_wide() {
        let gates = vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        let gates = Tensor::new(gates, [2, 3]).expect("6 values");
        // Rates 1 and 1/4.
        let loss = target_rate(&gates, &[1, 2], 0.5).and_then(|loss| loss.item()).expect("fits");
        assert_abs_diff_eq!(loss, (0.25 + 0.0625) / 2.0, epsilon = 1e-7);
        assert!(target_rate(&gates, &[1, 1], 0.5).is_err(), "2 of 3 gates");
        assert!(target_rate(&gates, &[3, 0], 0.5).is_err(), "a layer without gates has no rate");
        assert!(target_rate(&gates, &[3], -0.5).is_err());
    }
}
