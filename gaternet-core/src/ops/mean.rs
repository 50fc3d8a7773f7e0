//! Mean of all elements.

use gaternet_kernels::cpu::elementwise;

use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The mean of all elements, shape `()`, summed in a fixed order.
///
/// # Errors
/// [`Error::Shape`] if there is no element.
pub fn mean(x: &Tensor) -> Result<Tensor> {
    if x.is_empty() {
        let got = x.shape().to_string();
        return Err(Error::Shape { op: "mean", rule: "there must be an element", got });
    }
    let mean = elementwise::sum(x.data()) / x.len() as f64;
    Tensor::from_op(vec![mean as f32], [], &[x], |_| Mean(x.shape().clone()))
}

/// With the shape of the input.
#[derive(Debug)]
struct Mean(Shape);

impl Backward for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let count = self.0.dims().iter().product::<usize>();
        Ok(vec![Some(Tensor::full(&self.0, grad.item()? / count as f32)?)])
    }
}
