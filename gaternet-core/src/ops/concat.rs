//! Channels of several tensors side by side.

use gaternet_kernels::cpu::concat as kernel;

use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::storage;
use crate::tensor::{Tensor, elements};

/// (N, C1 + C2 + ..., H, W) of inputs (N, C1, H, W), (N, C2, H, W), ...:
/// `torch.cat(inputs, dim=1)`, for inputs (N, C) too.
///
/// # Errors
/// [`Error::Shape`] if there is no input, one has fewer than 2 sizes, or they differ in more than
/// their channels.
pub fn concat(inputs: &[&Tensor]) -> Result<Tensor> {
    let fail = || Error::Shape {
        op: "concat",
        rule: "the inputs must be (N, C, ...) that differ in C only, at least one",
        got: inputs.iter().map(|x| x.shape().to_string()).collect::<Vec<_>>().join(", "),
    };
    let [batch, _, rest @ ..] = inputs.first().ok_or_else(fail)?.dims() else {
        return Err(fail());
    };
    let mut channels = 0usize;
    for input in inputs {
        match input.dims() {
            [n, c, sizes @ ..] if n == batch && sizes == rest => {
                channels = channels.checked_add(*c).ok_or_else(fail)?;
            }
            _ => return Err(fail()),
        }
    }
    let shape = Shape::from([&[*batch, channels], rest].concat());
    let mut y = storage::take(elements(&shape)?);
    let parts: Vec<&[f32]> = inputs.iter().map(|x| x.data()).collect();
    kernel::forward(*batch, &parts, &mut y)?;
    let save = |_: &Tensor| Concat { shapes: inputs.iter().map(|x| x.shape().clone()).collect() };
    Tensor::from_op(y, shape, inputs, save)
}

/// With the shapes of the inputs.
#[derive(Debug)]
struct Concat {
    shapes: Vec<Shape>,
}

impl Backward for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let batch = grad.dims().first().copied().unwrap_or(0);
        let mut start = 0;
        let mut grads = Vec::with_capacity(needs.len());
        for (shape, &needed) in self.shapes.iter().zip(needs) {
            let len = elements(shape)?;
            grads.push(if needed {
                let mut part = storage::take(len);
                kernel::split(batch, grad.data(), start, &mut part)?;
                Some(Tensor::new(part, shape)?)
            } else {
                None
            });
            start += len.checked_div(batch).unwrap_or(0);
        }
        Ok(grads)
    }
}
