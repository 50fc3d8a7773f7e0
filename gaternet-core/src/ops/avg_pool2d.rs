//! Mean over windows.

use gaternet_kernels::cpu::avg_pool2d as kernel;
use gaternet_kernels::dims::PoolDims;

use super::Pool2dOptions;
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// (N, C, OH, OW) of x (N, C, H, W): the mean over each window, the zeros of the padding included,
/// as `torch.nn.functional.avg_pool2d` (`count_include_pad=True`); `OH = (H + 2 · padding - KH) /
/// stride + 1` rounded down, OW alike.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if x is not of rank 4,
/// [`Error::Kernel`](crate::Error::Kernel) if the window does not fit, a stride is 0 or the padding
/// is more than half the window.
pub fn avg_pool2d(x: &Tensor, options: Pool2dOptions) -> Result<Tensor> {
    let dims = options.dims("avg_pool2d", x)?;
    let mut y = storage::take(dims.output_len());
    kernel::forward(x.isa()?, &dims, x.data(), &mut y)?;
    let [oh, ow] = dims.out_size();
    Tensor::from_op(y, [dims.batch(), dims.channels(), oh, ow], &[x], |_| AvgPool2d(dims))
}

#[derive(Debug)]
struct AvgPool2d(PoolDims);

impl Backward for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dims = &self.0;
        let mut grad_x = storage::take(dims.input_len());
        kernel::backward(grad.isa()?, dims, grad.data(), &mut grad_x)?;
        let [h, w] = dims.in_size();
        Ok(vec![Some(Tensor::new(grad_x, [dims.batch(), dims.channels(), h, w])?)])
    }
}
