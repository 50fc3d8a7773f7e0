//! The active filters of a whole network.

use gaternet_core::{Error, Result};
use gaternet_kernels::ActiveFilters;

use super::OP;
use crate::gating::pruning::{PlaneGate, PruningMap};

/// One list for each gated layer of a plan, in memory that is kept from batch to batch.
#[derive(Clone)]
pub(super) struct ActiveLists {
    /// Number of gates c.
    gates: usize,
    /// The gate of each plane, layer by layer.
    planes: Vec<PlaneGate>,
    /// Number of planes of each gated layer.
    widths: Vec<usize>,
    /// The gates of `planes`, (N, their number).
    selected: Vec<f32>,
    lists: Vec<ActiveFilters>,
}

impl ActiveLists {
    /// Lists without samples.
    pub(super) fn new(kept: &PruningMap<'_>) -> ActiveLists {
        let gates = kept.layers().iter().map(|layer| layer.gates.as_slice());
        let (planes, widths) = (gates.clone().flatten().copied().collect(), gates.map(<[_]>::len));
        let lists = vec![ActiveFilters::empty(); kept.layers().len()];
        let widths = widths.collect();
        ActiveLists { gates: kept.plan().gates(), planes, widths, selected: Vec::new(), lists }
    }

    /// Number of gates c.
    pub(super) fn gates(&self) -> usize {
        self.gates
    }

    /// Whether the lists are the same whatever the gates.
    pub(super) fn is_constant(&self) -> bool {
        !self.planes.iter().any(|gate| matches!(gate, PlaneGate::Column(_)))
    }

    /// Fills and returns the lists for `gates` (N, c), each 0 or 1.
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
