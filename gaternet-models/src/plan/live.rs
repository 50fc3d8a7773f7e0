//! The live filters of a whole network.

use gaternet_core::{Error, Result};
use gaternet_kernels::ActiveFilters;

use super::OP;
use crate::gating::pruning::{Kept, PlaneGate};

/// One list for each slot of a gate plan, in memory that is kept from batch to batch.
#[derive(Clone)]
pub(super) struct LiveLists {
    /// c.
    gates: usize,
    /// What opens each plane, slot by slot.
    planes: Vec<PlaneGate>,
    /// Filters of each slot.
    widths: Vec<usize>,
    /// Gates of `planes`, (N, their number).
    selected: Vec<f32>,
    lists: Vec<ActiveFilters>,
}

impl LiveLists {
    /// Of no sample.
    pub(super) fn new(kept: &Kept<'_>) -> LiveLists {
        let gates = kept.slots().iter().map(|slot| slot.gates.as_slice());
        let (planes, widths) = (gates.clone().flatten().copied().collect(), gates.map(<[_]>::len));
        let lists = vec![ActiveFilters::empty(); kept.slots().len()];
        let widths = widths.collect();
        LiveLists { gates: kept.plan().gates(), planes, widths, selected: Vec::new(), lists }
    }

    /// c.
    pub(super) fn gates(&self) -> usize {
        self.gates
    }

    /// Whether the lists are the same for all gates.
    pub(super) fn settled(&self) -> bool {
        !self.planes.iter().any(|gate| matches!(gate, PlaneGate::Column(_)))
    }

    /// The lists for `gates` (N, c), each 0 or 1.
    pub(super) fn fill(&mut self, gates: &[f32]) -> Result<&[ActiveFilters]> {
        let fail = |rule, got| Err(Error::Shape { op: OP, rule, got });
        if let Some(at) = gates.iter().position(|gate| *gate != 0.0 && *gate != 1.0) {
            let (sample, gate) = (at / self.gates, at % self.gates);
            return fail("a gate must be 0 or 1", format!("{} in ({sample}, {gate})", gates[at]));
        }
        self.selected.clear();
        for row in gates.chunks_exact(self.gates) {
            let gate = |plane: &PlaneGate| match *plane {
                PlaneGate::Column(column) => row[column],
                PlaneGate::Open => 1.0,
                PlaneGate::Closed => 0.0,
            };
            self.selected.extend(self.planes.iter().map(gate));
        }
        let mut first = 0;
        for (&width, list) in self.widths.iter().zip(&mut self.lists) {
            if list.refill(&self.selected, self.planes.len(), first, width).is_none() {
                let got = format!("{} values for {} gates", gates.len(), self.gates);
                return fail("the gates must be (N, c)", got);
            }
            first += width;
        }
        Ok(&self.lists)
    }
}
