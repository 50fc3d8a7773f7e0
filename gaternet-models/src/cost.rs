//! Multiply-accumulates (MACs), dense and as executed for a batch's gates.
//!
//! Convolutions, linear layers and global pooling (one for each pixel) count; normalisation,
//! activations and additions do not.

use gaternet_core::gate::Gates;
use gaternet_core::nn::{Conv2d, Linear};

use crate::gate_plan::GatePlan;

/// One convolution of a backbone, as [`GatePlan`] and [`Cost`] see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvSpec {
    /// State-dict name of the layer.
    pub name: String,
    /// C.
    pub in_channels: usize,
    /// F.
    pub out_channels: usize,
    /// (KH, KW).
    pub kernel: [usize; 2],
    /// (OH, OW).
    pub out_size: [usize; 2],
    /// True for the last convolution of a residual unit, before its shortcut is added.
    pub ends_unit: bool,
}

impl ConvSpec {
    pub(crate) fn new(
        name: String,
        conv: &Conv2d,
        out_size: [usize; 2],
        ends_unit: bool,
    ) -> ConvSpec {
        let [out_channels, in_channels, kernel @ ..] = conv.shape();
        ConvSpec { name, in_channels, out_channels, kernel, out_size, ends_unit }
    }

    /// MACs for one image with every filter running: F·C·KH·KW·OH·OW.
    #[must_use]
    pub fn macs(&self) -> u64 {
        let sides = self.kernel.iter().chain(&self.out_size);
        sides.fold(self.out_channels as u64 * self.in_channels as u64, |macs, n| macs * *n as u64)
    }
}

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

/// MACs of a linear layer for one sample: its weights.
pub(crate) fn linear_macs(linear: &Linear) -> u64 {
    linear.weight().tensor().len() as u64
}

/// MACs of the convolutions for the mean open share of each slot.
pub(crate) fn executed(convs: &[ConvSpec], plan: &GatePlan, gates: &Gates) -> f64 {
    let share = |conv: &ConvSpec| {
        plan.slot_of(&conv.name).and_then(|slot| gates.live(slot)).map_or(1.0, |a| a.density())
    };
    convs.iter().map(|conv| conv.macs() as f64 * share(conv)).sum()
}
