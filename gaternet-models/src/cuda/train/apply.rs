//! Factors of channels, residual and ReLU where no batch norm has them, forward and backward.

use std::cell::Ref;

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::conv2d::GateColumns;
use gaternet_kernels::cuda::gate::{self, Apply, Compact, Grads as ApplyGrads};
use gaternet_kernels::cuda::{Activation, CudaBuffer};

use super::rows::{RowGrads, new_grad};
use super::sum::{Grads, Sum};
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Sizes};
use crate::cuda::value::{Factors, Map, Row};

/// A node `y = relu(factor·x + residual)`.
#[derive(Debug)]
pub(super) struct ApplyNode {
    pub(super) dims: PlaneDims,
    /// The input, dense.
    pub(super) x: Map,
    pub(super) factors: Option<Factors>,
    pub(super) residual: Option<Map>,
    pub(super) relu: bool,
    pub(super) y: Map,
    /// Whether y is compact by the gates: then its reader computes the gradients.
    pub(super) compact: bool,
    pub(super) backward: Option<ApplyBackward>,
}

/// The places of the gradients.
#[derive(Debug)]
pub(super) struct ApplyBackward {
    grad_y: Map,
    /// Gradient of x; `None` if it is that of y.
    grad_x: Option<Map>,
    /// The gated layer by whose gates `grad_x` is compact: inactive channels have no gradient.
    compact: Option<usize>,
    /// Gradient of a row of factors.
    grad_factors: Option<Row>,
    /// Gradient of the residual; `None` without one, or if it is that of y.
    grad_residual: Option<Map>,
    sums: Vec<Sum>,
}

impl ApplyNode {
    /// Whether residual and ReLU may still be given to it.
    pub(super) fn takes_more(&self) -> bool {
        self.residual.is_none() && !self.relu && !self.compact
    }

    /// Gives the gradients their places. `of_rows`: x is read here only, and a convolution whose
    /// weight has its filters in rows writes it.
    pub(super) fn plan_backward(
        &mut self,
        sizes: &mut Sizes,
        grads: &mut Grads,
        rows: &mut RowGrads,
        of_rows: bool,
    ) -> Result<()> {
        let Some(grad_y) = grads.dense(self.y) else { return Ok(()) };
        let ApplyNode { dims, x, factors, residual, relu, .. } = *self;
        let mut sums = Vec::new();
        let grad_residual = residual.filter(|_| relu).map(|value| sizes.like(value));
        if let Some(value) = residual {
            sums.extend(grads.add(sizes, dims, value, grad_residual.unwrap_or(grad_y)));
        }
        let grad_x = (factors.is_some() || relu).then(|| sizes.like(x));
        let (compact, grad_factors) = match factors {
            Some(Factors::Gates(layer)) => (of_rows.then_some(layer), None),
            Some(Factors::Row(row)) => (None, Some(new_grad(sizes, rows, row)?)),
            None => (None, None),
        };
        match grad_x {
            Some(to) if compact.is_some() => grads.set(x, to, compact),
            to => sums.extend(grads.add(sizes, dims, x, to.unwrap_or(grad_y))),
        }
        if let Some(layer) = compact {
            sizes.lists.insert(layer, dims.channels);
        }
        self.backward =
            Some(ApplyBackward { grad_y, grad_x, compact, grad_factors, grad_residual, sums });
        Ok(())
    }

    pub(super) fn forward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let values = self.factors.map(|factors| values_of(factors, buffers));
        let residual = self.residual.map(|value| buffers.map(value));
        let active = match self.factors {
            Some(Factors::Gates(layer)) if self.compact => Some(buffers.gates.active(layer)),
            _ => None,
        };
        let compact = active.as_deref().map_or(Compact::Nothing, Compact::Target);
        let apply = Apply {
            gates: self.columns(buffers, values.as_deref()),
            residual: residual.as_deref(),
            relu: self.relu,
        };
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        Ok(gate::forward(self.dims, compact, apply, &x, &mut y)?)
    }

    pub(super) fn backward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        if backward.grad_x.is_some() || backward.grad_residual.is_some() {
            let values = self.factors.map(|factors| values_of(factors, buffers));
            let mut grad_factors = match self.factors {
                Some(Factors::Gates(_)) => Some(buffers.gates.grad.borrow_mut()),
                _ => backward.grad_factors.map(|to| buffers.row_mut(to)),
            };
            let active = backward.compact.map(|layer| buffers.gates.active(layer));
            let compact = active.as_deref().map_or(Compact::Nothing, Compact::Target);
            let apply = Apply {
                gates: self.columns(buffers, values.as_deref()),
                residual: None,
                relu: self.relu,
            };
            let mut grad_x = backward.grad_x.map(|to| buffers.map_mut(to));
            let mut grad_residual = backward.grad_residual.map(|to| buffers.map_mut(to));
            let grads = ApplyGrads {
                x: grad_x.as_deref_mut(),
                gates: grad_factors.as_deref_mut(),
                residual: grad_residual.as_deref_mut(),
            };
            let (x, y) = (buffers.map(self.x), buffers.map(self.y));
            let grad_y = buffers.map(backward.grad_y);
            gate::backward(self.dims, compact, apply, [&x, &y, &grad_y], grads)?;
        }
        backward.sums.iter().try_for_each(|sum| sum.run(buffers))
    }

    fn columns<'a, T: Activation>(
        &self,
        buffers: &Buffers<T>,
        values: Option<&'a CudaBuffer<f32>>,
    ) -> Option<GateColumns<'a>> {
        let values = values?;
        Some(match self.factors? {
            Factors::Gates(layer) => buffers.gates.of(layer, values),
            Factors::Row(_) => GateColumns { gates: values, stride: self.dims.channels, first: 0 },
        })
    }
}

fn values_of<T: Activation>(factors: Factors, buffers: &Buffers<T>) -> Ref<'_, CudaBuffer<f32>> {
    match factors {
        Factors::Gates(_) => buffers.gates.values.borrow(),
        Factors::Row(row) => buffers.row(row),
    }
}
