//! Difference of two tensors.

use super::{add, check_shape, scale};
use crate::error::Result;
use crate::tensor::Tensor;

/// `a - b`, of one shape.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
pub fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_shape("sub", "both inputs must have one shape", b, a.shape())?;
    // The same bits: a change of sign is exact.
    add(a, &scale(b, -1.0)?)
}
