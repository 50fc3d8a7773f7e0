//! Which convolutions are gated, and which gate columns are whose: the one home of placement.

use std::ops::Range;

use crate::cost::ConvSpec;

/// The gates of one convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateSlot {
    /// State-dict name of the convolution whose output filters are gated.
    pub conv: String,
    /// Its columns in the gater's output, one for each filter.
    pub columns: Range<usize>,
}

/// All gates of a network. Gater width, backbone and cost model read this one plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatePlan {
    slots: Vec<GateSlot>,
}

impl GatePlan {
    /// The paper's placement: one gate for each output filter of the last convolution of every residual
    /// unit, after its batch norm and before the shortcut is added; columns in the order of the units.
    #[must_use]
    pub fn unit_outputs(convs: &[ConvSpec]) -> GatePlan {
        let mut end = 0;
        let slots = convs.iter().filter(|conv| conv.ends_unit).map(|conv| {
            let start = end;
            end += conv.out_channels;
            GateSlot { conv: conv.name.clone(), columns: start..end }
        });
        GatePlan { slots: slots.collect() }
    }

    /// The slots, in the order of their columns.
    #[must_use]
    pub fn slots(&self) -> &[GateSlot] {
        &self.slots
    }

    /// Number of gates, c.
    #[must_use]
    pub fn gates(&self) -> usize {
        self.slots.last().map_or(0, |slot| slot.columns.end)
    }

    /// Filters of each slot.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        self.slots.iter().map(|slot| slot.columns.len()).collect()
    }

    /// Index of the slot that gates the convolution called `conv`, if one does.
    #[must_use]
    pub fn slot_of(&self, conv: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.conv == conv)
    }
}
