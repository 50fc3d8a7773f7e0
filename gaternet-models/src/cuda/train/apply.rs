//! Gates, residual and ReLU where no batch norm has them, forward and backward.

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::Activation;
use gaternet_kernels::cuda::gate_apply::{self, Apply, Compact, Grads as ApplyGrads};

use super::sum::{Grads, Sum};
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Map, Sizes};

/// `y = relu(gate·x + residual)`.
#[derive(Debug)]
pub(super) struct ApplyNode {
    pub(super) dims: PlaneDims,
    /// Dense.
    pub(super) x: Map,
    /// Slot.
    pub(super) gates: Option<usize>,
    pub(super) residual: Option<Map>,
    pub(super) relu: bool,
    pub(super) y: Map,
    /// Whether y is compact by the gates: then its reader computes the gradients.
    pub(super) collect: bool,
    pub(super) backward: Option<ApplyBackward>,
}

/// Where the gradients are.
#[derive(Debug)]
pub(super) struct ApplyBackward {
    grad_y: Map,
    /// `None` if it is that of y.
    grad_x: Option<Map>,
    /// Whether `grad_x` is compact by the gates: the closed ones have no gradient.
    collect: bool,
    /// `None` without a residual, or if it is that of y.
    grad_residual: Option<Map>,
    sums: Vec<Sum>,
}

impl ApplyNode {
    /// `of_rows`: x is read here only, by a convolution whose weight has its filters in rows.
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, grads: &mut Grads, of_rows: bool) {
        let Some(grad_y) = grads.dense(self.y) else { return };
        let ApplyNode { dims, x, gates, residual, relu, .. } = *self;
        let mut sums = Vec::new();
        let grad_residual = residual.filter(|_| relu).map(|value| sizes.like(value));
        if let Some(value) = residual {
            sums.extend(grads.add(sizes, dims, value, grad_residual.unwrap_or(grad_y)));
        }
        let grad_x = (gates.is_some() || relu).then(|| sizes.like(x));
        let collect = gates.filter(|_| of_rows);
        match grad_x {
            Some(to) if collect.is_some() => grads.set(x, to, collect),
            to => sums.extend(grads.add(sizes, dims, x, to.unwrap_or(grad_y))),
        }
        if let Some(slot) = collect {
            sizes.lists.insert(slot, dims.channels);
        }
        let collect = collect.is_some();
        self.backward = Some(ApplyBackward { grad_y, grad_x, collect, grad_residual, sums });
    }

    pub(super) fn forward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let gates = &buffers.gates;
        let values = gates.values.borrow();
        let residual = self.residual.map(|value| buffers.map(value));
        let live = self.gates.filter(|_| self.collect).map(|slot| gates.live(slot));
        let compact = live.as_deref().map_or(Compact::Nothing, Compact::Target);
        let apply = Apply {
            gates: self.gates.map(|slot| gates.of(slot, &values)),
            residual: residual.as_deref(),
            relu: self.relu,
        };
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        Ok(gate_apply::forward(self.dims, compact, apply, &x, &mut y)?)
    }

    pub(super) fn backward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        if backward.grad_x.is_some() || backward.grad_residual.is_some() {
            let gates = &buffers.gates;
            let values = gates.values.borrow();
            let mut grad_gates = self.gates.map(|_| gates.grad.borrow_mut());
            let live = self.gates.filter(|_| backward.collect).map(|slot| gates.live(slot));
            let compact = live.as_deref().map_or(Compact::Nothing, Compact::Target);
            let apply = Apply {
                gates: self.gates.map(|slot| gates.of(slot, &values)),
                residual: None,
                relu: self.relu,
            };
            let mut grad_x = backward.grad_x.map(|to| buffers.map_mut(to));
            let mut grad_residual = backward.grad_residual.map(|to| buffers.map_mut(to));
            let grads = ApplyGrads {
                x: grad_x.as_deref_mut(),
                gates: grad_gates.as_deref_mut(),
                residual: grad_residual.as_deref_mut(),
            };
            let (x, y) = (buffers.map(self.x), buffers.map(self.y));
            let grad_y = buffers.map(backward.grad_y);
            gate_apply::backward(self.dims, compact, apply, [&x, &y, &grad_y], grads)?;
        }
        backward.sums.iter().try_for_each(|sum| sum.run(buffers))
    }
}
