//! Batch norm of vectors with ReLU, forward and backward.

use gaternet_kernels::cuda::Activation;
use gaternet_kernels::cuda::batch_norm::Epilogue;

use super::norm::{BatchNorm, GradsBefore};
use super::rows::{RowBackward, RowGrads};
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Sizes};
use crate::cuda::value::Row;

/// A node `y = relu(norm(x))` of vectors.
#[derive(Debug)]
pub(super) struct RowNormNode {
    /// A batch norm of maps of one pixel: the vectors' length is a multiple of what a map's
    /// channels are padded to.
    pub(super) norm: BatchNorm,
    pub(super) x: Row,
    pub(super) relu: bool,
    pub(super) y: Row,
    pub(super) backward: Option<RowBackward>,
}

impl RowNormNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, rows: &mut RowGrads) -> Result<()> {
        self.backward = RowBackward::plan(sizes, rows, self.x, self.y)?;
        Ok(())
    }

    pub(super) fn forward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let epilogue = Epilogue::default().with_relu(self.relu);
        let (x, mut y) = (buffers.row(self.x), buffers.row_mut(self.y));
        self.norm.forward(weights, epilogue, &x, &mut y, &mut buffers.scratch())
    }

    pub(super) fn backward<T: Activation>(
        &self,
        weights: &Weights<T>,
        buffers: &Buffers<T>,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        let epilogue = Epilogue::default().with_relu(self.relu);
        let [x, y, grad_y] = [self.x, self.y, backward.grad_y].map(|row| buffers.row(row));
        let to = GradsBefore {
            x: &mut buffers.row_mut(backward.grad_x),
            more: None,
            gates: None,
            residual: None,
            scratch: &mut buffers.scratch(),
        };
        self.norm.backward(weights, epilogue, [&x, &y, &grad_y], to)
    }
}
