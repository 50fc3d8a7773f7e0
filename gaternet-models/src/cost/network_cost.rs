//! Multiply-accumulates (MACs) of a network, dense and as executed for a batch's gates.
//!
//! Convolutions, linear layers and global pooling (one for each pixel) count; normalisation,
//! activations and additions do not.

use gaternet_core::gate::Gates;

use super::mac_costs::{ConvMacs, MacCosts};
use crate::gating::gate_plan::{ConvGates, GatePlan};
use crate::network::ConvSpec;

/// MACs for one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// MACs of the backbone with every filter running.
    pub backbone: f64,
    /// MACs of the backbone with the filters that ran, the mean over a batch; equal to `backbone`
    /// without gates.
    pub executed: f64,
    /// MACs of the gater; 0 without one.
    pub gater: f64,
}

impl Cost {
    /// MACs of everything that ran, gater included, over those of the plain backbone: below 1 saves
    /// work.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        (self.executed + self.gater) / self.backbone
    }
}

/// MACs of the convolutions for each image of the batch of these gates, (N).
pub(crate) fn executed(convs: &[ConvSpec], plan: &GatePlan, gates: &Gates) -> Vec<f64> {
    let mut macs = vec![0.0; gates.values().dims()[0]];
    for (conv, layers) in convs.iter().zip(plan.convs()) {
        for (n, macs) in macs.iter_mut().enumerate() {
            *macs += conv.macs() as f64 * active_fraction(layers.computed(), gates, n);
        }
    }
    macs
}

/// The costs, for a loss, of a backbone of `macs` MACs for one image and its gater. A block of the
/// costs is what shares gates: convolutions with a gated layer in common, of filters, of channels
/// or of their reader.
pub(crate) fn of_gates(convs: &[ConvSpec], plan: &GatePlan, macs: f64, gater: f64) -> MacCosts {
    let mut blocks: Vec<Vec<ConvMacs>> = Vec::new();
    for (conv, layers) in convs.iter().zip(plan.convs()) {
        let ConvGates { filters, channels, .. } = layers.computed();
        let new = ConvMacs { macs: conv.macs() as f64, filters, channels };
        let layers = |conv: &ConvMacs| [conv.filters, conv.channels].into_iter().flatten();
        if layers(&new).next().is_none() {
            continue;
        }
        let shares =
            |conv: &ConvMacs| layers(conv).any(|one| layers(&new).any(|other| one == other));
        let (mut joined, others): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|block| block.iter().any(shares));
        joined.push(vec![new]);
        blocks = others;
        blocks.push(joined.concat());
    }
    let gated: f64 = blocks.iter().flatten().map(|conv| conv.macs).sum();
    MacCosts { blocks, fixed: macs - gated, gater }
}

/// The fraction of (filter, channel) pairs that run for image `n`: `active filters(n) · active
/// channels(n) / (F·C)`. The two need not be independent, so the mean over images is not the
/// product of the means.
fn active_fraction(layers: ConvGates, gates: &Gates, n: usize) -> f64 {
    let open = |layer: Option<usize>| {
        let list = layer.and_then(|layer| gates.active(layer));
        list.map_or(1.0, |list| list.row(n).len() as f64 / list.filters() as f64)
    };
    open(layers.filters) * open(layers.channels)
}
