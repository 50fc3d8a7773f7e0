//! Mean of each plane.

use gaternet_kernels::cpu::global_avg_pool as kernel;
use gaternet_kernels::dims::PlaneDims;

use super::plane_dims;
use crate::autograd::Backward;
use crate::error::Result;
use crate::shape::Shape;
use crate::storage;
use crate::tensor::Tensor;

/// (N, C) of x (N, C, H, W): the mean of each plane.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if x is not of rank 4.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let dims = plane_dims("global_avg_pool", x)?;
    let mut y = storage::take(dims.batch * dims.channels);
    kernel::forward(x.isa()?, dims, x.data(), &mut y)?;
    let save = |_: &Tensor| GlobalAvgPool { dims, shape: x.shape().clone() };
    Tensor::from_op(y, [dims.batch, dims.channels], &[x], save)
}

#[derive(Debug)]
struct GlobalAvgPool {
    dims: PlaneDims,
    shape: Shape,
}

impl Backward for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_x = storage::take(self.dims.len());
        kernel::backward(grad.isa()?, self.dims, grad.data(), &mut grad_x)?;
        Ok(vec![Some(Tensor::new(grad_x, &self.shape)?)])
    }
}
