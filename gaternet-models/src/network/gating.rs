//! The gates that a backbone runs with.

use gaternet_core::gate::Gates;
use gaternet_core::ops::Live;
use gaternet_core::{Result, Tensor};

use crate::gate_plan::GatePlan;

/// The gates of a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gating<'a> {
    pub(crate) plan: &'a GatePlan,
    pub(crate) gates: &'a Gates,
    /// Leave out filters whose gate is 0; otherwise compute and discard them, which batch statistics
    /// and the straight-through gradient of their gates need.
    pub(crate) skip: bool,
}

/// What they make of one convolution.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConvGating {
    /// (N, F); each multiplies a filter's output. `None` if the filters have no gates.
    pub(crate) values: Option<Tensor>,
    /// What has to be computed.
    pub(crate) live: Live,
}

impl Gating<'_> {
    /// For convolution number `conv` of the plan.
    pub(crate) fn conv(&self, conv: usize) -> Result<ConvGating> {
        let slots = self.plan.convs()[conv];
        let filters = slots.filters.map(|slot| self.gates.slot(slot)).transpose()?;
        let live = if self.skip {
            let computed = slots.computed();
            let live = |slot: Option<usize>| slot.and_then(|slot| self.gates.live(slot)).cloned();
            Live { filters: live(computed.filters), channels: live(computed.channels) }
        } else {
            Live::default()
        };
        Ok(ConvGating { values: filters.map(|filters| filters.values), live })
    }
}
