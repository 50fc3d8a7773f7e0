//! Quotient of two tensors.

use super::check_shape;
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `a / b`, element by element, of one shape.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ.
pub fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_shape("div", "both inputs must have one shape", b, a.shape())?;
    let quotients = map([a, b], |a, b| a / b);
    Tensor::from_op(quotients, a.shape(), &[a, b], |y| Div { b: b.detach(), y: y.clone() })
}

fn map([a, b]: [&Tensor; 2], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let mut y = storage::take(a.len());
    for ((y, &a), &b) in y.iter_mut().zip(a.data()).zip(b.data()) {
        *y = f(a, b);
    }
    y
}

#[derive(Debug)]
struct Div {
    b: Tensor,
    y: Tensor,
}

impl Backward for Div {
    fn name(&self) -> &'static str {
        "div"
    }

    /// With respect to a it is `grad / b`, with respect to b `-grad · y / b`.
    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Div { b, y } = self;
        let of_a = Tensor::new(map([&grad, b], |grad, b| grad / b), grad.shape())?;
        let of_b = match needs[1] {
            true => Some(Tensor::new(map([&of_a, y], |of_a, y| -of_a * y), grad.shape())?),
            false => None,
        };
        Ok(vec![needs[0].then_some(of_a), of_b])
    }
}
