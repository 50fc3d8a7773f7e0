//! Batch norm with gates, residual and ReLU, forward and backward.

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::batch_norm::{
    self, Affine, BatchStats, Epilogue, Grads as NormGrads, Running, Saved, Stats,
};
use gaternet_kernels::cuda::{Activation, CudaBuffer};

use super::sum::{Grads, Sum};
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Sizes};
use crate::cuda::value::Map;

/// A node `y = relu(gate·norm(x) + residual)`.
#[derive(Debug)]
pub(super) struct NormNode {
    pub(super) norm: BatchNorm,
    pub(super) x: Map,
    /// The gated layer whose gates multiply.
    pub(super) gates: Option<usize>,
    pub(super) residual: Option<Map>,
    pub(super) relu: bool,
    pub(super) y: Map,
    pub(super) backward: Option<NormBackward>,
}

/// The places of the gradients.
#[derive(Debug)]
pub(super) struct NormBackward {
    grad_y: Map,
    grad_x: Map,
    /// Gradient of x from other readers.
    more: Option<Map>,
    /// Gradient of the residual; `None` without one, or if it is that of y.
    grad_residual: Option<Map>,
    sum: Option<Sum>,
}

impl NormNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, grads: &mut Grads) {
        let Some(grad_y) = grads.dense(self.y) else { return };
        let grad_residual = self.residual.filter(|_| self.relu).map(|value| sizes.like(value));
        let sum = self.residual.and_then(|value| {
            grads.add(sizes, self.norm.dims, value, grad_residual.unwrap_or(grad_y))
        });
        let more = grads.dense(self.x);
        let grad_x = sizes.like(self.x);
        grads.set(self.x, grad_x, None);
        self.backward = Some(NormBackward { grad_y, grad_x, more, grad_residual, sum });
    }

    pub(super) fn forward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let values = buffers.gates.values.borrow();
        let residual = self.residual.map(|value| buffers.map(value));
        let epilogue = Epilogue::default()
            .with_gates(self.gates.map(|layer| buffers.gates.of(layer, &values)))
            .with_residual(residual.as_deref())
            .with_relu(self.relu);
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        self.norm.forward(weights, epilogue, &x, &mut y, &mut buffers.scratch())
    }

    pub(super) fn backward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        {
            let gates = &buffers.gates;
            let values = gates.values.borrow();
            let mut grad_gates = self.gates.map(|_| gates.grad.borrow_mut());
            let epilogue = Epilogue::default()
                .with_gates(self.gates.map(|layer| gates.of(layer, &values)))
                .with_relu(self.relu);
            let more = backward.more.map(|more| buffers.map(more));
            let mut grad_residual = backward.grad_residual.map(|to| buffers.map_mut(to));
            let to = GradsBefore {
                x: &mut buffers.map_mut(backward.grad_x),
                more: more.as_deref(),
                gates: grad_gates.as_deref_mut(),
                residual: grad_residual.as_deref_mut(),
                scratch: &mut buffers.scratch(),
            };
            let [x, y, grad_y] = [self.x, self.y, backward.grad_y].map(|map| buffers.map(map));
            self.norm.backward(weights, epilogue, [&x, &y, &grad_y], to)?;
        }
        backward.sum.map_or(Ok(()), |sum| sum.run(buffers))
    }
}

/// The launches of a batch norm of maps, or of vectors as maps of one pixel, with the statistics of
/// the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchNorm {
    /// Number among the batch norms of the weights.
    pub(super) number: usize,
    pub(super) dims: PlaneDims,
}

/// The buffers for all gradients except those of weight and bias.
pub(super) struct GradsBefore<'a, U> {
    pub(super) x: &'a mut CudaBuffer<U>,
    /// Gradient of x from other readers.
    pub(super) more: Option<&'a CudaBuffer<U>>,
    pub(super) gates: Option<&'a mut CudaBuffer<f32>>,
    pub(super) residual: Option<&'a mut CudaBuffer<U>>,
    pub(super) scratch: &'a mut CudaBuffer<f32>,
}

impl BatchNorm {
    /// Computes y with the statistics of the batch, which also update the running statistics.
    pub(super) fn forward<T: Activation, U: Activation>(
        self,
        weights: &Weights<T>,
        epilogue: Epilogue<'_, U>,
        x: &CudaBuffer<U>,
        y: &mut CudaBuffer<U>,
        scratch: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let norm = &weights.norms[self.number];
        let [weight, bias] = [norm.weight, norm.bias].map(|at| weights.others[at].weight.borrow());
        let affine = Affine { weight: &weight.master, bias: &bias.master, eps: norm.eps };
        let batch = BatchStats {
            mean: &mut norm.mean.borrow_mut(),
            var: &mut norm.var.borrow_mut(),
            scratch,
            running: Some(Running {
                mean: &mut norm.running_mean.borrow_mut(),
                var: &mut norm.running_var.borrow_mut(),
                momentum: norm.momentum,
            }),
        };
        Ok(batch_norm::forward_train(self.dims, affine, epilogue, x, y, batch)?)
    }

    pub(super) fn backward<T: Activation, U: Activation>(
        self,
        weights: &Weights<T>,
        epilogue: Epilogue<'_, U>,
        [x, y, grad_y]: [&CudaBuffer<U>; 3],
        to: GradsBefore<'_, U>,
    ) -> Result<()> {
        let norm = &weights.norms[self.number];
        let [of_weight, of_bias] = [&weights.others[norm.weight], &weights.others[norm.bias]];
        let [weight, bias] = [of_weight.weight.borrow(), of_bias.weight.borrow()];
        let affine = Affine { weight: &weight.master, bias: &bias.master, eps: norm.eps };
        let [mean, var] = [norm.mean.borrow(), norm.var.borrow()];
        let saved = Saved { x, y, stats: Stats { mean: &mean, var: &var }, batch_stats: true };
        let GradsBefore { x, more, gates, residual, scratch } = to;
        let (weight, bias) = (&mut of_weight.grad.borrow_mut(), &mut of_bias.grad.borrow_mut());
        let grads = NormGrads { x, more, weight, bias, gates, residual, scratch };
        Ok(batch_norm::backward(self.dims, affine, epilogue, saved, grad_y, grads)?)
    }
}
