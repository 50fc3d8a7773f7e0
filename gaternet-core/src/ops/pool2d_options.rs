//! Windows of the pools.

use gaternet_kernels::dims::PoolDims;

use super::dims;
use crate::error::Result;
use crate::tensor::Tensor;

/// The windows of a pool, each size (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2dOptions {
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Step of the windows.
    pub stride: [usize; 2],
    /// Border around the input, at most half the window.
    pub padding: [usize; 2],
}

impl Pool2dOptions {
    /// Square windows: `MaxPool2d(kernel, stride, padding)` of PyTorch.
    #[must_use]
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Pool2dOptions {
        Pool2dOptions { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] }
    }

    pub(super) fn dims(self, op: &'static str, x: &Tensor) -> Result<PoolDims> {
        let input = dims(op, "the input must be (N, C, H, W)", x)?;
        Ok(PoolDims::new(input, self.kernel, self.stride, self.padding)?)
    }
}
