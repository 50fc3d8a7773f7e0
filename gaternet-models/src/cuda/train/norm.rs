//! Batch norm with gates, residual and ReLU, forward and backward.

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::Activation;
use gaternet_kernels::cuda::batch_norm::{
    self, Affine, BatchStats, Epilogue, Grads as NormGrads, Saved, Stats,
};

use super::sum::{Grads, Sum};
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Map, Sizes};

/// `y = relu(gate·norm(x) + residual)`.
#[derive(Debug)]
pub(super) struct NormNode {
    /// Number of the batch norm.
    pub(super) norm: usize,
    pub(super) dims: PlaneDims,
    pub(super) x: Map,
    /// Slot.
    pub(super) gates: Option<usize>,
    pub(super) residual: Option<Map>,
    pub(super) relu: bool,
    pub(super) y: Map,
    pub(super) backward: Option<NormBackward>,
}

/// Where the gradients are.
#[derive(Debug)]
pub(super) struct NormBackward {
    grad_y: Map,
    grad_x: Map,
    /// Of x, from elsewhere.
    more: Option<Map>,
    /// `None` without a residual, or if it is that of y.
    grad_residual: Option<Map>,
    sum: Option<Sum>,
}

impl NormNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, grads: &mut Grads) {
        let Some(grad_y) = grads.dense(self.y) else { return };
        let grad_residual = self.residual.filter(|_| self.relu).map(|value| sizes.like(value));
        let sum = self
            .residual
            .and_then(|value| grads.add(sizes, self.dims, value, grad_residual.unwrap_or(grad_y)));
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
        let norm = &weights.norms[self.norm];
        let [weight, bias] = [norm.weight, norm.bias].map(|at| weights.others[at].weight.borrow());
        let values = buffers.gates.values.borrow();
        let residual = self.residual.map(|value| buffers.map(value));
        let affine = Affine { weight: &weight.master, bias: &bias.master, eps: norm.eps };
        let epilogue = Epilogue {
            gates: self.gates.map(|slot| buffers.gates.of(slot, &values)),
            residual: residual.as_deref(),
            relu: self.relu,
        };
        let [mut mean, mut var] = [norm.mean.borrow_mut(), norm.var.borrow_mut()];
        let [mut running_mean, mut running_var] =
            [norm.running_mean.borrow_mut(), norm.running_var.borrow_mut()];
        let batch = BatchStats {
            mean: &mut mean,
            var: &mut var,
            scratch: &mut buffers.scratch(),
            running: Some(norm.running(&mut running_mean, &mut running_var)),
        };
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        Ok(batch_norm::forward_train(self.dims, affine, epilogue, &x, &mut y, batch)?)
    }

    pub(super) fn backward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        {
            let norm = &weights.norms[self.norm];
            let [of_weight, of_bias] = [&weights.others[norm.weight], &weights.others[norm.bias]];
            let [weight, bias] = [of_weight.weight.borrow(), of_bias.weight.borrow()];
            let gates = &buffers.gates;
            let values = gates.values.borrow();
            let mut grad_gates = self.gates.map(|_| gates.grad.borrow_mut());
            let affine = Affine { weight: &weight.master, bias: &bias.master, eps: norm.eps };
            let epilogue = Epilogue {
                gates: self.gates.map(|slot| gates.of(slot, &values)),
                residual: None,
                relu: self.relu,
            };
            let [mean, var] = [norm.mean.borrow(), norm.var.borrow()];
            let (x, y) = (buffers.map(self.x), buffers.map(self.y));
            let stats = Stats { mean: &mean, var: &var };
            let saved = Saved { x: &x, y: &y, stats, batch_stats: true };
            let more = backward.more.map(|more| buffers.map(more));
            let mut grad_residual = backward.grad_residual.map(|to| buffers.map_mut(to));
            let grads = NormGrads {
                x: &mut buffers.map_mut(backward.grad_x),
                more: more.as_deref(),
                weight: &mut of_weight.grad.borrow_mut(),
                bias: &mut of_bias.grad.borrow_mut(),
                gates: grad_gates.as_deref_mut(),
                residual: grad_residual.as_deref_mut(),
                scratch: &mut buffers.scratch(),
            };
            let grad_y = buffers.map(backward.grad_y);
            batch_norm::backward(self.dims, affine, epilogue, saved, &grad_y, grads)?;
        }
        backward.sum.map_or(Ok(()), |sum| sum.run(buffers))
    }
}
