//! Product of two tensors, element by element.

use gaternet_kernels::cpu::elementwise;

use super::{check_shape, isa};
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `a · b`, of one shape.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_shape("mul", "both inputs must have one shape", b, a.shape())?;
    Tensor::from_op(product(a, b)?, a.shape(), &[a, b], |_| Mul { a: a.detach(), b: b.detach() })
}

fn product(a: &Tensor, b: &Tensor) -> Result<Vec<f32>> {
    let mut y = storage::take(a.len());
    elementwise::mul(isa(&[a, b])?, a.data(), b.data(), &mut y)?;
    Ok(y)
}

#[derive(Debug)]
struct Mul {
    a: Tensor,
    b: Tensor,
}

impl Backward for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let times = |other: &Tensor| Tensor::new(product(&grad, other)?, grad.shape());
        Ok(vec![
            needs[0].then(|| times(&self.b)).transpose()?,
            needs[1].then(|| times(&self.a)).transpose()?,
        ])
    }
}
