//! Logistic sigmoid.

use gaternet_kernels::cpu::sigmoid as kernel;

use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `1 / (1 + exp(-x))`, element by element.
///
/// # Errors
/// Those of the kernels.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    let mut y = storage::take(x.len());
    kernel::forward(x.data(), &mut y)?;
    Tensor::from_op(y, x.shape(), &[x], |y| Sigmoid { y: y.clone() })
}

#[derive(Debug)]
struct Sigmoid {
    y: Tensor,
}

impl Backward for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_x = storage::take(grad.len());
        kernel::backward(grad.isa()?, self.y.data(), grad.data(), &mut grad_x)?;
        Ok(vec![Some(Tensor::new(grad_x, grad.shape())?)])
    }
}
