//! Rectified linear unit.

use gaternet_kernels::cpu::relu as kernel;

use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `max(x, 0)`; the gradient at 0 is 0.
///
/// # Errors
/// Those of the kernels.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let mut y = storage::take(x.len());
    kernel::forward(x.isa()?, x.data(), &mut y)?;
    Tensor::from_op(y, x.shape(), &[x], |y| Relu { y: y.clone() })
}

#[derive(Debug)]
struct Relu {
    y: Tensor,
}

impl Backward for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_x = storage::take(grad.len());
        kernel::backward(grad.isa()?, self.y.data(), grad.data(), &mut grad_x)?;
        Ok(vec![Some(Tensor::new(grad_x, grad.shape())?)])
    }
}
