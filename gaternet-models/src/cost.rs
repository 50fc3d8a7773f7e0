//! Multiply-accumulates (MACs), dense and as executed for a batch's gates.
//!
//! Convolutions, linear layers and global pooling (one for each pixel) count; normalisation,
//! activations and additions do not.

use gaternet_core::gate::{ConvMacs, Gates, MacCosts};

use crate::conv_spec::ConvSpec;
use crate::gate_plan::{ConvSlots, GatePlan};

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

/// MACs of the convolutions for one image, the mean over the batch of these gates.
pub(crate) fn executed(convs: &[ConvSpec], plan: &GatePlan, gates: &Gates) -> f64 {
    let slots = plan.convs().iter();
    convs.iter().zip(slots).map(|(conv, slots)| conv.macs() as f64 * share(*slots, gates)).sum()
}

/// What a loss needs to know of a backbone of `macs` MACs for one image, and its gater. A block is what shares
/// gates: convolutions with the same slot, of filters or of channels, are in one.
pub(crate) fn of_gates(convs: &[ConvSpec], plan: &GatePlan, macs: f64, gater: f64) -> MacCosts {
    let mut blocks: Vec<Vec<ConvMacs>> = Vec::new();
    for (conv, slots) in convs.iter().zip(plan.convs()) {
        let ConvSlots { filters, channels } = *slots;
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

/// Share of (filter, channel) pairs that run: `mean over n of live filters(n) · live channels(n) / (F·C)`.
/// The two of a sample need not be independent, so this is not the product of their means.
fn share(slots: ConvSlots, gates: &Gates) -> f64 {
    let live = |slot: Option<usize>| slot.and_then(|slot| gates.live(slot));
    match (live(slots.filters), live(slots.channels)) {
        (None, None) => 1.0,
        (Some(one), None) | (None, Some(one)) => one.density(),
        (Some(filters), Some(channels)) => {
            let pairs = |n| filters.row(n).len() * channels.row(n).len();
            let live: usize = (0..filters.batch()).map(pairs).sum();
            live as f64 / (filters.batch() * filters.filters() * channels.filters()) as f64
        }
    }
}
