//! Windows of the pools.

use gaternet_kernels::dims::PoolDims;

use super::dims;
use crate::error::Result;
use crate::tensor::Tensor;

/// The windows of a pool, each size (height, width) in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool2dOptions {
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Step of the windows.
    pub stride: [usize; 2],
    /// Width of the border around the input, at most half the window.
    pub padding: [usize; 2],
}

impl Pool2dOptions {
    /// Windows of this size, step and border, each (height, width).
    #[must_use]
    pub const fn new(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Pool2dOptions {
        Pool2dOptions { kernel, stride, padding }
    }

    /// Square windows: `MaxPool2d(kernel, stride, padding)` of PyTorch.
    #[must_use]
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Pool2dOptions {
        Pool2dOptions::new([kernel; 2], [stride; 2], [padding; 2])
    }

    pub(super) fn dims(self, op: &'static str, x: &Tensor) -> Result<PoolDims> {
        let input = dims(op, "the input must be (N, C, H, W)", x)?;
        Ok(PoolDims::new(input, self.kernel, self.stride, self.padding)?)
    }
}
