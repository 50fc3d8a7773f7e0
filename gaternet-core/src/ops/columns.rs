//! Columns of a matrix.

use std::ops::Range;

use super::dims;
use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// Columns `range` of x (N, C): shape (N, length of the range).
///
/// # Errors
/// [`Error::Shape`] if x is not of rank 2 or the range is not one of its columns.
pub fn columns(x: &Tensor, range: Range<usize>) -> Result<Tensor> {
    let [batch, width] = dims("columns", "the input must be (N, C)", x)?;
    if range.start > range.end || range.end > width {
        return Err(Error::Shape {
            op: "columns",
            rule: "the range must lie within the columns",
            got: format!("{range:?} of {}", x.shape()),
        });
    }
    let taken = range.len();
    let mut y = storage::take(batch * taken);
    if taken > 0 {
        for (to, from) in y.chunks_exact_mut(taken).zip(x.data().chunks_exact(width)) {
            to.copy_from_slice(&from[range.clone()]);
        }
    }
    Tensor::from_op(y, [batch, taken], &[x], |_| Columns { width, range })
}

#[derive(Debug)]
struct Columns {
    width: usize,
    range: Range<usize>,
}

impl Backward for Columns {
    fn name(&self) -> &'static str {
        "columns"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [batch, taken] = dims("columns", "the gradient must be (N, C)", &grad)?;
        let mut grad_x = storage::take_zeroed(batch * self.width);
        if taken > 0 {
            let rows = grad_x.chunks_exact_mut(self.width).zip(grad.data().chunks_exact(taken));
            rows.for_each(|(to, from)| to[self.range.clone()].copy_from_slice(from));
        }
        Ok(vec![Some(Tensor::new(grad_x, [batch, self.width])?)])
    }
}
