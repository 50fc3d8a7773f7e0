//! Sums of the gradients of a value that several nodes read.

use std::collections::HashMap;

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::Activation;
use gaternet_kernels::cuda::gate::{self, Apply, Compact};

use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Sizes};
use crate::cuda::value::Map;

/// The place of a gradient: dense, or compact by the gates of a gated layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grad {
    pub(super) at: Map,
    pub(super) active: Option<usize>,
}

/// The gradients that the nodes seen so far have written, from the last one backward.
#[derive(Debug, Default)]
pub(super) struct Grads(HashMap<Map, Grad>);

/// A launch `sum = part + more`, for nodes that cannot add.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    dims: PlaneDims,
    part: Map,
    more: Map,
    sum: Map,
}

impl Grads {
    pub(super) fn of(&self, value: Map) -> Option<Grad> {
        self.0.get(&value).copied()
    }

    /// The dense gradient of a value that has one.
    pub(super) fn dense(&self, value: Map) -> Option<Map> {
        self.of(value).map(|grad| grad.at)
    }

    /// Makes this the gradient of `value` from here on.
    pub(super) fn set(&mut self, value: Map, at: Map, active: Option<usize>) {
        self.0.insert(value, Grad { at, active });
    }

    /// Adds `part` to the gradient of `value`; returns the sum that is left to be computed for it.
    pub(super) fn add(
        &mut self,
        sizes: &mut Sizes,
        dims: PlaneDims,
        value: Map,
        part: Map,
    ) -> Option<Sum> {
        let Some(more) = self.dense(value) else {
            self.set(value, part, None);
            return None;
        };
        let sum = sizes.like(part);
        self.set(value, sum, None);
        Some(Sum { dims, part, more, sum })
    }
}

impl Sum {
    pub(super) fn run<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let more = buffers.map(self.more);
        let apply = Apply { residual: Some(&*more), ..Apply::default() };
        let (part, mut sum) = (buffers.map(self.part), buffers.map_mut(self.sum));
        Ok(gate::forward(self.dims, Compact::Nothing, apply, &part, &mut sum)?)
    }
}
