//! The live filters of a whole network.

use gaternet_core::{Error, Result};
use gaternet_kernels::ActiveFilters;

use super::OP;
use super::kept::Kept;

/// One list for each slot of a gate plan, in memory that is kept from batch to batch.
pub(super) struct LiveLists {
    /// c.
    gates: usize,
    /// The gate of each filter, slot by slot; none for a dropped filter whose plane remains.
    columns: Vec<Option<usize>>,
    /// Filters of each slot.
    widths: Vec<usize>,
    /// Gates of `columns`, (N, their number).
    selected: Vec<f32>,
    lists: Vec<ActiveFilters>,
}

impl LiveLists {
    /// Of no sample.
    pub(super) fn new(kept: &Kept<'_>) -> LiveLists {
        let (mut columns, mut widths) = (Vec::new(), Vec::new());
        for (slot, kept) in kept.plan().slots().iter().zip(kept.slots()) {
            let all = slot.columns.clone().zip(0..);
            let column = |(column, filter): (usize, u32)| match (
                kept.filters.binary_search(&filter),
                kept.compact,
            ) {
                (Ok(_), _) => Some(Some(column)),
                (Err(_), true) => None,
                (Err(_), false) => Some(None),
            };
            let before = columns.len();
            columns.extend(all.filter_map(column));
            widths.push(columns.len() - before);
        }
        let lists = vec![ActiveFilters::empty(); widths.len()];
        LiveLists { gates: kept.plan().gates(), columns, widths, selected: Vec::new(), lists }
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
        self.selected.clear();
        for row in gates.chunks_exact(self.gates) {
            let columns = self.columns.iter();
            self.selected.extend(columns.map(|column| column.map_or(0.0, |column| row[column])));
        }
        let mut first = 0;
        for (&width, list) in self.widths.iter().zip(&mut self.lists) {
            if list.refill(&self.selected, self.columns.len(), first, width).is_none() {
                let got = format!("{} values for {} gates", gates.len(), self.gates);
                return fail("the gates must be (N, c)", got);
            }
            first += width;
        }
        Ok(&self.lists)
    }
}
