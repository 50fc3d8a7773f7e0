//! Batch norm of vectors with ReLU, forward and backward.

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::Activation;
use gaternet_kernels::cuda::batch_norm::{
    self, Affine, BatchStats, Epilogue, Grads as NormGrads, Saved, Stats,
};

use super::rows::{RowGrads, new_grad};
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Row, Sizes};

/// `y = relu(norm(x))`.
#[derive(Debug)]
pub(super) struct RowNormNode {
    /// Number of the batch norm.
    pub(super) norm: usize,
    /// Vectors as maps of one pixel: their length is a multiple of what a map's channels are padded to.
    pub(super) dims: PlaneDims,
    pub(super) x: Row,
    pub(super) relu: bool,
    pub(super) y: Row,
    pub(super) backward: Option<RowNormBackward>,
}

/// Where the gradients are.
#[derive(Debug)]
pub(super) struct RowNormBackward {
    grad_y: Row,
    grad_x: Row,
}

impl RowNormNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, rows: &mut RowGrads) -> Result<()> {
        let Some(&grad_y) = rows.get(&self.y) else { return Ok(()) };
        let grad_x = new_grad(sizes, rows, self.x)?;
        self.backward = Some(RowNormBackward { grad_y, grad_x });
        Ok(())
    }

    pub(super) fn forward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let norm = &weights.norms[self.norm];
        let [weight, bias] = [norm.weight, norm.bias].map(|at| weights.others[at].weight.borrow());
        let affine = Affine { weight: &weight.master, bias: &bias.master, eps: norm.eps };
        let epilogue = Epilogue { relu: self.relu, ..Epilogue::default() };
        let [mut mean, mut var] = [norm.mean.borrow_mut(), norm.var.borrow_mut()];
        let [mut running_mean, mut running_var] =
            [norm.running_mean.borrow_mut(), norm.running_var.borrow_mut()];
        let batch = BatchStats {
            mean: &mut mean,
            var: &mut var,
            scratch: &mut buffers.scratch(),
            running: Some(norm.running(&mut running_mean, &mut running_var)),
        };
        let (x, mut y) = (buffers.row(self.x), buffers.row_mut(self.y));
        Ok(batch_norm::forward_train(self.dims, affine, epilogue, &x, &mut y, batch)?)
    }

    pub(super) fn backward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        let norm = &weights.norms[self.norm];
        let [of_weight, of_bias] = [&weights.others[norm.weight], &weights.others[norm.bias]];
        let [weight, bias] = [of_weight.weight.borrow(), of_bias.weight.borrow()];
        let affine = Affine { weight: &weight.master, bias: &bias.master, eps: norm.eps };
        let epilogue = Epilogue { relu: self.relu, ..Epilogue::default() };
        let [mean, var] = [norm.mean.borrow(), norm.var.borrow()];
        let [x, y, grad_y] = [self.x, self.y, backward.grad_y].map(|row| buffers.row(row));
        let stats = Stats { mean: &mean, var: &var };
        let saved = Saved { x: &x, y: &y, stats, batch_stats: true };
        let grads = NormGrads {
            x: &mut buffers.row_mut(backward.grad_x),
            more: None,
            weight: &mut of_weight.grad.borrow_mut(),
            bias: &mut of_bias.grad.borrow_mut(),
            gates: None,
            residual: None,
            scratch: &mut buffers.scratch(),
        };
        Ok(batch_norm::backward(self.dims, affine, epilogue, saved, &grad_y, grads)?)
    }
}
