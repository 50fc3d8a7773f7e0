//! Columns of a matrix, several times each.

use super::dims;
use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// Column i of x (N, C) `repeats[i]` times, side by side: shape (N, sum of the repeats). That is
/// `torch.repeat_interleave(x, repeats, dim=1)`. The gradient of a column is the sum of those of
/// its copies.
///
/// # Errors
/// [`Error::Shape`] if x is not of rank 2 or there is not a number for each column.
pub fn repeat_interleave(x: &Tensor, repeats: &[usize]) -> Result<Tensor> {
    let [batch, width] = dims("repeat_interleave", "the input must be (N, C)", x)?;
    if repeats.len() != width {
        return Err(Error::Shape {
            op: "repeat_interleave",
            rule: "there must be a number of repeats for each column",
            got: format!("{} for {}", repeats.len(), x.shape()),
        });
    }
    let out: usize = repeats.iter().sum();
    let mut y = storage::take(batch * out);
    let mut rest = &mut y[..];
    for (&value, &times) in x.data().iter().zip(repeats.iter().cycle()) {
        let (copies, after) = rest.split_at_mut(times);
        copies.fill(value);
        rest = after;
    }
    Tensor::from_op(y, [batch, out], &[x], |_| RepeatInterleave { repeats: repeats.to_vec() })
}

#[derive(Debug)]
struct RepeatInterleave {
    repeats: Vec<usize>,
}

impl Backward for RepeatInterleave {
    fn name(&self) -> &'static str {
        "repeat_interleave"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [batch, _] = dims("repeat_interleave", "the gradient must be (N, C)", &grad)?;
        let mut grad_x = storage::take(batch * self.repeats.len());
        let mut rest = grad.data();
        for (out, &times) in grad_x.iter_mut().zip(self.repeats.iter().cycle()) {
            let (copies, after) = rest.split_at(times);
            *out = copies.iter().copied().map(f64::from).sum::<f64>() as f32;
            rest = after;
        }
        Ok(vec![Some(Tensor::new(grad_x, [batch, self.repeats.len()])?)])
    }
}
