//! Multiply-accumulates (MACs), dense and as executed for a batch's gates.
//!
//! Convolutions, linear layers and global pooling (one for each pixel) count; normalisation,
//! activations and additions do not.

use gaternet_core::gate::Gates;

use super::mac_costs::{ConvMacs, MacCosts};
use crate::gating::gate_plan::{ConvSlots, GatePlan};
use crate::network::ConvSpec;

/// MACs for one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Backbone with every filter running.
    pub backbone: f64,
    /// Backbone with the filters that ran, the mean over a batch; equal to `backbone` without gates.
    pub executed: f64,
    /// Gater; 0 without one.
    pub gater: f64,
}

impl Cost {
    /// Everything that ran, over the plain backbone: below 1 saves work, gater included.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        (self.executed + self.gater) / self.backbone
    }
}

/// MACs of the convolutions for each image of the batch of these gates, (N).
pub(crate) fn executed(convs: &[ConvSpec], plan: &GatePlan, gates: &Gates) -> Vec<f64> {
    let mut macs = vec![0.0; gates.values().dims()[0]];
    for (conv, slots) in convs.iter().zip(plan.convs()) {
        for (n, macs) in macs.iter_mut().enumerate() {
            *macs += conv.macs() as f64 * share(slots.computed(), gates, n);
        }
    }
    macs
}

/// What a loss needs to know of a backbone of `macs` MACs for one image, and its gater. A block is what shares
/// gates: convolutions with the same slot, of filters, of channels or of their reader, are in one.
pub(crate) fn of_gates(convs: &[ConvSpec], plan: &GatePlan, macs: f64, gater: f64) -> MacCosts {
    let mut blocks: Vec<Vec<ConvMacs>> = Vec::new();
    for (conv, slots) in convs.iter().zip(plan.convs()) {
        let ConvSlots { filters, channels, .. } = slots.computed();
        let new = ConvMacs { macs: conv.macs() as f64, filters, channels };
        let slots = |conv: &ConvMacs| [conv.filters, conv.channels].into_iter().flatten();
        if slots(&new).next().is_none() {
            continue;
        }
        let shares = |conv: &ConvMacs| slots(conv).any(|one| slots(&new).any(|other| one == other));
        let (mut joined, others): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|block| block.iter().any(shares));
        joined.push(vec![new]);
        blocks = others;
        blocks.push(joined.concat());
    }
    let gated: f64 = blocks.iter().flatten().map(|conv| conv.macs).sum();
    MacCosts { blocks, fixed: macs - gated, gater }
}

/// Share of (filter, channel) pairs that run for image `n`: `live filters(n) · live channels(n) / (F·C)`. The two
/// need not be independent, so the mean over images is not the product of the means.
fn share(slots: ConvSlots, gates: &Gates, n: usize) -> f64 {
    let open = |slot: Option<usize>| {
        let live = slot.and_then(|slot| gates.live(slot));
        live.map_or(1.0, |live| live.row(n).len() as f64 / live.filters() as f64)
    };
    open(slots.filters) * open(slots.channels)
}
