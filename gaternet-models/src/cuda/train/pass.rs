//! A pass over the nodes of a step.

use gaternet_kernels::cuda::Clock;

use super::gating::Gating;
use super::metrics::Metrics;
use super::weights::Weights;
use crate::cuda::buffers::Buffers;

/// The buffers, weights and data that all nodes read.
pub(super) struct Pass<'a, T> {
    pub(super) weights: &'a Weights<T>,
    pub(super) buffers: &'a Buffers<T>,
    /// The training of the gates, if there are any.
    pub(super) gating: Option<&'a Gating>,
    pub(super) metrics: &'a Metrics,
    pub(super) clock: &'a Clock,
}

impl<T> Clone for Pass<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Pass<'_, T> {}
