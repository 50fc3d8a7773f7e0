//! The filters that a convolution computes, and the channels it reads.

use std::ops::RangeInclusive;

use crate::active_filters::ActiveFilters;
use crate::dims::Conv2dDims;
use crate::error::{KernelError, Result};

/// The filters and input channels that are active in each sample of a convolution; by default all.
///
/// [`ActiveFilters`] is the list of one side; this is the pair that a convolution goes by. A filter
/// that is not active has an output plane of exact zeros and its weights are not read; a channel
/// that is not active is not read and counts as zeros.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Active<'a> {
    /// The active filters, (N) lists over F; `None` if all are.
    pub filters: Option<&'a ActiveFilters>,
    /// The active input channels, (N) lists over C; `None` if all are.
    pub channels: Option<&'a ActiveFilters>,
}

impl<'a> Active<'a> {
    /// The same channels with these filters, (N) lists over F; `None` for all.
    #[must_use]
    pub fn with_filters(self, filters: Option<&'a ActiveFilters>) -> Active<'a> {
        Active { filters, ..self }
    }

    /// The same filters with these input channels, (N) lists over C; `None` for all.
    #[must_use]
    pub fn with_channels(self, channels: Option<&'a ActiveFilters>) -> Active<'a> {
        Active { channels, ..self }
    }
}

impl Active<'_> {
    pub(super) fn check(&self, op: &'static str, dims: &Conv2dDims) -> Result<()> {
        self.check_lists(op, dims, dims.batch()..=dims.batch())
    }

    /// Checks the lists, which may have the numbers of samples in `batch`.
    pub(super) fn check_lists(
        &self,
        op: &'static str,
        dims: &Conv2dDims,
        batch: RangeInclusive<usize>,
    ) -> Result<()> {
        let lists = [
            ("active.filters", self.filters, dims.out_channels()),
            ("active.channels", self.channels, dims.in_channels()),
        ];
        for (list, active, filters) in lists {
            let Some(active) = active else { continue };
            if !batch.contains(&active.batch()) || active.filters() != filters {
                return Err(KernelError::ActiveFilters {
                    op,
                    list,
                    got_batch: active.batch(),
                    got_filters: active.filters(),
                    batch: *batch.start(),
                    filters,
                });
            }
        }
        Ok(())
    }
}

/// Returns 0, 1, ...: as many numbers as there are filters and channels. `Conv2dDims` keeps both
/// far below `u32::MAX` on any machine that can hold them.
pub(super) fn every(dims: &Conv2dDims) -> Vec<u32> {
    (0..dims.out_channels().max(dims.in_channels()) as u32).collect()
}
