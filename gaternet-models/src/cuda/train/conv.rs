//! A convolution, forward and backward.

use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::conv2d::{self, Backward, Forward, GateGradient};
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{Activation, CudaDevice};

use super::sum::Grads;
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Sizes};
use crate::cuda::value::Map;

/// `y = conv(x)`.
#[derive(Debug)]
pub(super) struct ConvNode {
    /// Number of the weight.
    pub(super) weight: usize,
    pub(super) dims: Conv2dDims,
    pub(super) rows: Rows,
    pub(super) x: Map,
    /// What x was made of, if it is compact.
    pub(super) hidden: Option<Hidden>,
    /// Dense.
    pub(super) y: Map,
    pub(super) backward: Option<ConvBackward>,
}

/// `x = gate·h`, of which the open channels are there: what the gates of a hidden convolution leave for the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hidden {
    pub(super) h: Map,
    pub(super) slot: usize,
}

/// Where the gradients are.
#[derive(Debug)]
pub(super) struct ConvBackward {
    grad_y: Map,
    /// The slot by whose gates `grad_y` is compact.
    live: Option<usize>,
    /// Of x, or of the h it was made of; and what that has from elsewhere.
    grad_x: Option<(Map, Option<Map>)>,
}

impl ConvNode {
    /// If x is `constant` it needs no gradient. What scratch is needed depends on the device.
    pub(super) fn plan_backward(
        &mut self,
        device: &CudaDevice,
        sizes: &mut Sizes,
        grads: &mut Grads,
        constant: bool,
    ) {
        let Some(grad_y) = grads.of(self.y) else { return };
        sizes.need_scratch(conv2d::backward_weight_scratch_len(device, &self.dims, self.rows));
        let value = self.hidden.map_or(self.x, |hidden| hidden.h);
        if self.hidden.is_some() {
            sizes.need_scratch(conv2d::gate_gradient_scratch_len(&self.dims));
        }
        let grad_x = (!constant).then(|| {
            let (to, more) = (sizes.like(value), grads.dense(value));
            grads.set(value, to, None);
            (to, more)
        });
        self.backward = Some(ConvBackward { grad_y: grad_y.at, live: grad_y.live, grad_x });
    }

    pub(super) fn forward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let weight = weights.convs[self.weight].weight.borrow();
        let live = self.hidden.map(|hidden| buffers.gates.live(hidden.slot));
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        let (live, epilogue) = (live.as_deref(), Forward::default());
        Ok(conv2d::forward(&self.dims, self.rows, live, &x, weight.values(), epilogue, &mut y)?)
    }

    pub(super) fn backward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        let ConvNode { dims, rows, .. } = self;
        let (gates, param) = (&buffers.gates, &weights.convs[self.weight]);
        let (x, grad_y) = (buffers.map(self.x), buffers.map(backward.grad_y));
        let of_y = backward.live.map(|slot| gates.live(slot));
        {
            let of_x = self.hidden.map(|hidden| gates.live(hidden.slot));
            let live = of_x.as_deref().or(of_y.as_deref());
            let (mut scratch, mut grad) = (buffers.scratch(), param.grad.borrow_mut());
            conv2d::backward_weight(dims, *rows, live, &x, &grad_y, &mut scratch, &mut grad)?;
        }
        let Some((to, more)) = backward.grad_x else { return Ok(()) };
        let (weight, mut grad_x) = (param.weight.borrow(), buffers.map_mut(to));
        let more = more.map(|more| buffers.map(more));
        let residual = more.as_deref();
        let live = of_y.as_deref();
        let weight = weight.values();
        let Some(Hidden { h, slot }) = self.hidden else {
            let epilogue = Backward { residual, ..Backward::default() };
            conv2d::backward_input(dims, *rows, live, &grad_y, weight, epilogue, &mut grad_x)?;
            return Ok(());
        };
        // All channels: a gate that is closed has a gradient too, the straight-through estimator's.
        let (values, h, mut scratch) = (gates.values.borrow(), buffers.map(h), buffers.scratch());
        let mut gradient = gates.grad.borrow_mut();
        let columns = gates.of(slot, &values);
        let epilogue = Backward {
            residual,
            hidden: Some(&*h),
            gates: Some(columns),
            relu: false, // the node that made h has it
            gate_gradient: Some(GateGradient {
                scratch: &mut scratch,
                gradient: &mut gradient,
                stride: columns.stride,
                first: columns.first,
            }),
        };
        Ok(conv2d::backward_input(dims, *rows, live, &grad_y, weight, epilogue, &mut grad_x)?)
    }
}
