//! Layers of vectors: global average pool, linear, sigmoid, forward and backward.

use std::collections::HashMap;

use gaternet_kernels::cuda::{Activation, global_avg_pool, linear, sigmoid};
use gaternet_kernels::{LinearDims, PlaneDims};

use super::sum::{Grads, Sum};
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Sizes};
use crate::cuda::error::unsupported;
use crate::cuda::value::{Map, Row};

/// The gradient of each vector that has one.
pub(super) type RowGrads = HashMap<Row, Row>;

/// A buffer for the gradient of `value`, which one layer alone reads.
pub(super) fn new_grad(sizes: &mut Sizes, rows: &mut RowGrads, value: Row) -> Result<Row> {
    let grad = sizes.row_like(value);
    match rows.insert(value, grad) {
        None => Ok(grad),
        Some(_) => unsupported("training vectors that two layers read"),
    }
}

/// The places of the gradients of a layer from vectors x to vectors y.
#[derive(Debug)]
pub(super) struct RowBackward {
    pub(super) grad_y: Row,
    pub(super) grad_x: Row,
}

impl RowBackward {
    /// Gives the gradients their places; `None` if nobody wants the gradient of y.
    pub(super) fn plan(
        sizes: &mut Sizes,
        rows: &mut RowGrads,
        x: Row,
        y: Row,
    ) -> Result<Option<RowBackward>> {
        let Some(&grad_y) = rows.get(&y) else { return Ok(None) };
        Ok(Some(RowBackward { grad_y, grad_x: new_grad(sizes, rows, x)? }))
    }
}

/// A node of the mean of each plane.
#[derive(Debug)]
pub(super) struct PoolNode {
    pub(super) dims: PlaneDims,
    pub(super) x: Map,
    pub(super) y: Row,
    pub(super) backward: Option<PoolBackward>,
}

/// The places of the gradients.
#[derive(Debug)]
pub(super) struct PoolBackward {
    grad_y: Row,
    grad_x: Map,
    sum: Option<Sum>,
}

impl PoolNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, grads: &mut Grads, rows: &RowGrads) {
        let Some(&grad_y) = rows.get(&self.y) else { return };
        let grad_x = sizes.like(self.x);
        let sum = grads.add(sizes, self.dims, self.x, grad_x);
        self.backward = Some(PoolBackward { grad_y, grad_x, sum });
    }

    pub(super) fn forward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let (x, mut y) = (buffers.map(self.x), buffers.row_mut(self.y));
        Ok(global_avg_pool::forward(self.dims, &x, &mut y)?)
    }

    pub(super) fn backward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        {
            let grad_y = buffers.row(backward.grad_y);
            let mut grad_x = buffers.map_mut(backward.grad_x);
            global_avg_pool::backward(self.dims, &grad_y, &mut grad_x)?;
        }
        backward.sum.map_or(Ok(()), |sum| sum.run(buffers))
    }
}

/// A node `y = relu(x·weightᵀ + bias)`.
#[derive(Debug)]
pub(super) struct LinearNode {
    /// Numbers of weight and bias.
    pub(super) params: [usize; 2],
    pub(super) dims: LinearDims,
    pub(super) x: Row,
    pub(super) relu: bool,
    pub(super) y: Row,
    pub(super) backward: Option<RowBackward>,
}

impl LinearNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, rows: &mut RowGrads) -> Result<()> {
        self.backward = RowBackward::plan(sizes, rows, self.x, self.y)?;
        Ok(())
    }

    pub(super) fn forward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let [weight, bias] = self.params.map(|at| weights.others[at].weight.borrow());
        let (x, mut y) = (buffers.row(self.x), buffers.row_mut(self.y));
        let (weight, bias) = (&weight.master, Some(&bias.master));
        Ok(linear::forward(self.dims, &x, weight, bias, self.relu, &mut y)?)
    }

    pub(super) fn backward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        let [weight, bias] = self.params.map(|at| &weights.others[at]);
        let (x, y, grad_y) =
            (buffers.row(self.x), buffers.row(self.y), buffers.row(backward.grad_y));
        let open = self.relu.then_some(&*y);
        let (mut of_weight, mut of_bias) = (weight.grad.borrow_mut(), bias.grad.borrow_mut());
        linear::backward_weight(self.dims, &x, &grad_y, open, &mut of_weight, Some(&mut of_bias))?;
        let (weight, mut grad_x) = (weight.weight.borrow(), buffers.row_mut(backward.grad_x));
        Ok(linear::backward_input(self.dims, &grad_y, open, &weight.master, &mut grad_x)?)
    }
}

/// A node `y = 1 / (1 + exp(-x))`.
#[derive(Debug)]
pub(super) struct SigmoidNode {
    pub(super) x: Row,
    pub(super) y: Row,
    pub(super) backward: Option<RowBackward>,
}

impl SigmoidNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, rows: &mut RowGrads) -> Result<()> {
        self.backward = RowBackward::plan(sizes, rows, self.x, self.y)?;
        Ok(())
    }

    pub(super) fn forward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let (x, mut y) = (buffers.row(self.x), buffers.row_mut(self.y));
        Ok(sigmoid::forward(&x, &mut y)?)
    }

    pub(super) fn backward<T: Activation>(&self, buffers: &Buffers<T>) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        let (y, grad_y) = (buffers.row(self.y), buffers.row(backward.grad_y));
        Ok(sigmoid::backward(&y, &grad_y, &mut buffers.row_mut(backward.grad_x))?)
    }
}
