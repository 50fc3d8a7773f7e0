//! Product of a tensor and a constant.

use gaternet_kernels::cpu::elementwise;

use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `factor · x`.
///
/// # Errors
/// Those of the kernels.
pub fn scale(x: &Tensor, factor: f32) -> Result<Tensor> {
    Tensor::from_op(scaled(x, factor)?, x.shape(), &[x], |_| Scale(factor))
}

fn scaled(x: &Tensor, factor: f32) -> Result<Vec<f32>> {
    let mut y = storage::take(x.len());
    elementwise::scale(x.isa()?, x.data(), factor, &mut y)?;
    Ok(y)
}

#[derive(Debug)]
struct Scale(f32);

impl Backward for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Tensor::new(scaled(&grad, self.0)?, grad.shape())?)])
    }
}
