//! The live filters of a whole network.

use gaternet_core::{Error, Result};
use gaternet_kernels::ActiveFilters;

use super::OP;
use crate::gate_plan::{GatePlan, GateSlot};

/// One list for each slot of a gate plan, in memory that is kept from batch to batch.
pub(super) struct LiveLists {
    slots: Vec<GateSlot>,
    /// c.
    gates: usize,
    lists: Vec<ActiveFilters>,
}

impl LiveLists {
    /// Of no sample.
    pub(super) fn new(plan: &GatePlan) -> LiveLists {
        let slots = plan.slots().to_vec();
        let lists = vec![ActiveFilters::empty(); slots.len()];
        LiveLists { slots, gates: plan.gates(), lists }
    }

    /// c.
    pub(super) fn gates(&self) -> usize {
        self.gates
    }

    /// The lists for `gates` (N, c), each 0 or 1.
    pub(super) fn fill(&mut self, gates: &[f32]) -> Result<&[ActiveFilters]> {
        let fail = |rule, got| Err(Error::Shape { op: OP, rule, got });
        if let Some(at) = gates.iter().position(|gate| *gate != 0.0 && *gate != 1.0) {
            let (sample, gate) = (at / self.gates, at % self.gates);
            return fail("a gate must be 0 or 1", format!("{} in ({sample}, {gate})", gates[at]));
        }
        for (slot, list) in self.slots.iter().zip(&mut self.lists) {
            let columns = &slot.columns;
            if list.refill(gates, self.gates, columns.start, columns.len()).is_none() {
                let got = format!("{} values for {} columns", gates.len(), self.gates);
                return fail("the gates must be (N, c)", got);
            }
        }
        Ok(&self.lists)
    }
}
