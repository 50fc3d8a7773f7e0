//! Multiply-accumulates (MACs), dense and as executed for a batch's gates.
//!
//! Convolutions, linear layers and global pooling (one for each pixel) count; normalisation,
//! activations and additions do not.

use gaternet_core::gate::Gates;

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

/// MACs of the convolutions for each image of the batch of these gates, (N).
pub(crate) fn executed(convs: &[ConvSpec], plan: &GatePlan, gates: &Gates) -> Vec<f64> {
    let mut macs = vec![0.0; gates.values().dims()[0]];
    for (conv, slots) in convs.iter().zip(plan.convs()) {
        for (n, macs) in macs.iter_mut().enumerate() {
            *macs += conv.macs() as f64 * share(*slots, gates, n);
        }
    }
    macs
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
