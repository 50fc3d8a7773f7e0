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

/// A node `y = conv(x)`.
#[derive(Debug)]
pub(super) struct ConvNode {
    /// Number of the weight.
    pub(super) weight: usize,
    pub(super) dims: Conv2dDims,
    pub(super) rows: Rows,
    pub(super) x: Map,
    /// The map of which x is the active channels, if x is compact.
    pub(super) input: Option<GatedInput>,
    /// The output, dense.
    pub(super) y: Map,
    pub(super) backward: Option<ConvBackward>,
}

/// The dense map h of which `x = gate·h` holds the active channels: what the gates of an inner
/// convolution leave for the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct GatedInput {
    pub(super) h: Map,
    pub(super) layer: usize,
}

/// The places of the gradients.
#[derive(Debug)]
pub(super) struct ConvBackward {
    grad_y: Map,
    /// The gated layer by whose gates `grad_y` is compact.
    active: Option<usize>,
    /// Gradient of x, or of the h it was made of, and the gradient that this value has from other
    /// readers.
    grad_x: Option<(Map, Option<Map>)>,
}

impl ConvNode {
    /// Gives the gradients their places; if x is `constant` it needs none. The scratch that is
    /// needed depends on the device.
    pub(super) fn plan_backward(
        &mut self,
        device: &CudaDevice,
        sizes: &mut Sizes,
        grads: &mut Grads,
        constant: bool,
    ) {
        let Some(grad_y) = grads.of(self.y) else { return };
        sizes.need_scratch(conv2d::backward_weight_scratch_len(device, &self.dims, self.rows));
        let value = self.input.map_or(self.x, |input| input.h);
        if self.input.is_some() {
            sizes.need_scratch(conv2d::gate_gradient_scratch_len(&self.dims));
        }
        let grad_x = (!constant).then(|| {
            let (to, more) = (sizes.like(value), grads.dense(value));
            grads.set(value, to, None);
            (to, more)
        });
        self.backward = Some(ConvBackward { grad_y: grad_y.at, active: grad_y.active, grad_x });
    }

    pub(super) fn forward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let weight = weights.convs[self.weight].weight.borrow();
        let active = self.input.map(|inner| buffers.gates.active(inner.layer));
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        let (active, epilogue) = (active.as_deref(), Forward::default());
        Ok(conv2d::forward(&self.dims, self.rows, active, &x, weight.values(), epilogue, &mut y)?)
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
        let of_y = backward.active.map(|layer| gates.active(layer));
        {
            let of_x = self.input.map(|inner| gates.active(inner.layer));
            let active = of_x.as_deref().or(of_y.as_deref());
            let (mut scratch, mut grad) = (buffers.scratch(), param.grad.borrow_mut());
            conv2d::backward_weight(dims, *rows, active, &x, &grad_y, &mut scratch, &mut grad)?;
        }
        let Some((to, more)) = backward.grad_x else { return Ok(()) };
        let (weight, mut grad_x) = (param.weight.borrow(), buffers.map_mut(to));
        let more = more.map(|more| buffers.map(more));
        let residual = more.as_deref();
        let active = of_y.as_deref();
        let weight = weight.values();
        let Some(GatedInput { h, layer }) = self.input else {
            let epilogue = Backward { residual, ..Backward::default() };
            conv2d::backward_input(dims, *rows, active, &grad_y, weight, epilogue, &mut grad_x)?;
            return Ok(());
        };
        // A closed gate has a gradient too, the straight-through estimator's, so all channels are
        // computed.
        let (values, h, mut scratch) = (gates.values.borrow(), buffers.map(h), buffers.scratch());
        let mut gradient = gates.grad.borrow_mut();
        let columns = gates.of(layer, &values);
        let epilogue = Backward {
            residual,
            inner: Some(&*h),
            gates: Some(columns),
            relu: false, // the node that made h has it
            gate_gradient: Some(GateGradient {
                scratch: &mut scratch,
                gradient: &mut gradient,
                stride: columns.stride,
                first: columns.first,
            }),
        };
        Ok(conv2d::backward_input(dims, *rows, active, &grad_y, weight, epilogue, &mut grad_x)?)
    }
}
