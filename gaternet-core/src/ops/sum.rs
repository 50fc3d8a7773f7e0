//! Sum of all elements.

use gaternet_kernels::cpu::elementwise;

use crate::autograd::Backward;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The sum of all elements, shape `()`, in a fixed order.
///
/// # Errors
/// Those of the kernels.
pub fn sum(x: &Tensor) -> Result<Tensor> {
    let total = elementwise::sum(x.data()) as f32;
    Tensor::from_op(vec![total], [], &[x], |_| Sum(x.shape().clone()))
}

/// With the shape of the input.
#[derive(Debug)]
struct Sum(Shape);

impl Backward for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Tensor::full(&self.0, grad.item()?)?)])
    }
}
