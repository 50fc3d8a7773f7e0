//! Lists of the filters that are active in each sample.

/// The active filters of each sample of a batch: (N) lists over C filters, each ascending, stored
/// as compressed rows.
///
/// A filter is active where its gate is not 0. A NaN gate is active, so that it shows in the
/// output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveFilters {
    filters: usize,
    /// (N + 1): row n is `indices[starts[n]..starts[n + 1]]`.
    starts: Vec<usize>,
    /// The filter numbers, each below `filters`, ascending within a row.
    indices: Vec<u32>,
}

impl ActiveFilters {
    /// Makes lists of no sample, to be [`refill`](Self::refill)ed.
    #[must_use]
    pub fn empty() -> ActiveFilters {
        ActiveFilters { filters: 0, starts: vec![0], indices: Vec::new() }
    }

    /// Lists the active filters of `gates`, which are rows of `stride` values, of which columns
    /// `first..first + filters` are used. Returns `None` if a row is too short for the columns or
    /// `gates` is not a whole number of rows.
    #[must_use]
    pub fn from_columns(
        gates: &[f32],
        stride: usize,
        first: usize,
        filters: usize,
    ) -> Option<ActiveFilters> {
        let mut active = ActiveFilters::empty();
        active.refill(gates, stride, first, filters)?;
        Some(active)
    }

    /// Replaces these lists by those of [`from_columns`](Self::from_columns), in the same memory if
    /// it suffices. If it returns `None`, nothing is changed.
    pub fn refill(
        &mut self,
        gates: &[f32],
        stride: usize,
        first: usize,
        filters: usize,
    ) -> Option<()> {
        let end = first.checked_add(filters)?;
        if stride == 0 || end > stride || !gates.len().is_multiple_of(stride) {
            return None;
        }
        u32::try_from(filters).ok()?;
        let batch = gates.len() / stride;
        self.filters = filters;
        self.starts.clear();
        self.starts.reserve(batch + 1);
        self.starts.push(0);
        self.indices.clear();
        self.indices.reserve(batch * filters);
        for row in gates.chunks_exact(stride) {
            let open = row[first..end].iter().enumerate().filter(|(_, gate)| **gate != 0.0);
            // `filters` fits in u32, so every index below it does.
            self.indices.extend(open.map(|(filter, _)| filter as u32));
            self.starts.push(self.indices.len());
        }
        Some(())
    }

    /// Returns the number of samples, N.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the number of filters that a list chooses from, C.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// Returns the active filters of sample `n`, ascending.
    ///
    /// # Panics
    /// If `n` is not below [`batch`](Self::batch).
    #[must_use]
    pub fn row(&self, n: usize) -> &[u32] {
        &self.indices[self.starts[n]..self.starts[n + 1]]
    }

    /// Returns the number of active (sample, filter) pairs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.indices.len()
    }

    /// Returns the fraction of (sample, filter) pairs that are active, 0 to 1; 1 for an empty
    /// batch.
    #[must_use]
    pub fn density(&self) -> f64 {
        let all = self.batch() * self.filters;
        if all == 0 { 1.0 } else { self.count() as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_list_the_nonzero_columns_of_their_layer() {
        #[rustfmt::skip]
        let gates = [
            1.0, 0.0, 0.5, f32::NAN,
            0.0, 1.0, 0.0, -0.0,
        ];
        let lists = ActiveFilters::from_columns(&gates, 4, 1, 3).expect("columns fit");
        assert_eq!((lists.batch(), lists.filters(), lists.count()), (2, 3, 3));
        assert_eq!(lists.row(0), [1, 2]);
        assert_eq!(lists.row(1), [0]);
        assert!((lists.density() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn lists_are_refilled_in_their_memory() {
        let mut lists = ActiveFilters::from_columns(&[0.0; 12], 4, 1, 3).expect("columns fit");
        let memory = (lists.starts.as_ptr(), lists.indices.as_ptr());
        let gates = [1.0; 12];
        lists.refill(&gates, 4, 1, 3).expect("columns fit");
        assert_eq!(Some(&lists), ActiveFilters::from_columns(&gates, 4, 1, 3).as_ref());
        assert_eq!((lists.starts.as_ptr(), lists.indices.as_ptr()), memory, "allocated again");
        lists.refill(&gates, 6, 0, 2).expect("columns fit");
        assert_eq!(Some(&lists), ActiveFilters::from_columns(&gates, 6, 0, 2).as_ref());
        assert_eq!(lists.refill(&gates, 4, 2, 3), None);
        assert_eq!(lists.batch(), 2, "a refused refill changed the lists");
    }

    #[test]
    fn columns_outside_a_row_are_refused() {
        assert_eq!(ActiveFilters::from_columns(&[1.0; 8], 4, 2, 3), None);
        assert_eq!(ActiveFilters::from_columns(&[1.0; 7], 4, 0, 4), None);
    }
}
