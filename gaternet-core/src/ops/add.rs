//! Sum of two tensors.

use gaternet_kernels::cpu::elementwise;

use super::{check_shape, isa};
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `a + b`, of one shape.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_shape("add", "both inputs must have one shape", b, a.shape())?;
    let mut y = storage::take(a.len());
    elementwise::add(isa(&[a, b])?, a.data(), b.data(), &mut y)?;
    Tensor::from_op(y, a.shape(), &[a, b], |_| Add)
}

#[derive(Debug)]
struct Add;

impl Backward for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(needs.iter().map(|&needed| needed.then(|| grad.clone())).collect())
    }
}
