//! Largest value of each window.

use gaternet_kernels::cpu::max_pool2d as kernel;
use gaternet_kernels::dims::PoolDims;

use super::Pool2dOptions;
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// (N, C, OH, OW) of x (N, C, H, W): the largest value of each window, as
/// `torch.nn.functional.max_pool2d`; the padding is -inf, so it never shows. A NaN shows.
/// `OH = (H + 2 · padding - KH) / stride + 1` rounded down, OW alike. The gradient goes to the
/// first of equals.
///
/// # Errors
/// As [`avg_pool2d`](super::avg_pool2d()).
pub fn max_pool2d(x: &Tensor, options: Pool2dOptions) -> Result<Tensor> {
    let dims = options.dims("max_pool2d", x)?;
    let mut y = storage::take(dims.output_len());
    kernel::forward(x.isa()?, &dims, x.data(), &mut y)?;
    let [oh, ow] = dims.out_size();
    let save = |_: &Tensor| MaxPool2d { dims, x: x.detach() };
    Tensor::from_op(y, [dims.batch(), dims.channels(), oh, ow], &[x], save)
}

#[derive(Debug)]
struct MaxPool2d {
    dims: PoolDims,
    x: Tensor,
}

impl Backward for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_x = storage::take(self.x.len());
        kernel::backward(&self.dims, self.x.data(), grad.data(), &mut grad_x)?;
        Ok(vec![Some(Tensor::new(grad_x, self.x.shape())?)])
    }
}
