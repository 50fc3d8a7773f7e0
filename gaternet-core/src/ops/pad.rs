//! Borders of zeros, and cropping.

use gaternet_kernels::PadDims;
use gaternet_kernels::cpu::pad as kernel;

use super::plane_dims;
use crate::autograd::Backward;
use crate::error::Result;
use crate::shape::Shape;
use crate::storage;
use crate::tensor::Tensor;

/// `torch.nn.functional.pad(x, (left, right, top, bottom))` of x (N, C, H, W): that many rows and
/// columns of zeros around every plane; a negative number crops. `[-1, 1, -1, 1]` shifts a plane by
/// one pixel, as the second path of Shake-Shake's shortcut does.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if x is not of rank 4,
/// [`Error::Kernel`](crate::Error::Kernel) if nothing would be left of a side.
pub fn pad(x: &Tensor, padding: [isize; 4]) -> Result<Tensor> {
    let planes = plane_dims("pad", x)?;
    let [h, w] = [x.dims()[2], x.dims()[3]];
    let dims = PadDims::new(planes.batch * planes.channels, [h, w], padding)?;
    let mut y = storage::take(dims.output_len());
    kernel::forward(&dims, x.data(), &mut y)?;
    let [oh, ow] = dims.out_size();
    let save = |_: &Tensor| Pad { dims, shape: x.shape().clone() };
    Tensor::from_op(y, [planes.batch, planes.channels, oh, ow], &[x], save)
}

#[derive(Debug)]
struct Pad {
    dims: PadDims,
    shape: Shape,
}

impl Backward for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_x = storage::take(self.dims.input_len());
        kernel::forward(&self.dims.inverse(), grad.data(), &mut grad_x)?;
        Ok(vec![Some(Tensor::new(grad_x, &self.shape)?)])
    }
}
