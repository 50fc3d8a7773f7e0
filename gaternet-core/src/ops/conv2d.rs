//! 2-D convolution, of which inactive filters and channels are skipped.

use std::sync::Arc;

use gaternet_kernels::cpu::conv2d::{self as kernel, Cache, Passes};
use gaternet_kernels::{ActiveFilters, Conv2dDims};

use super::{dims, isa};
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// Stride and padding, each (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step of the kernel; 1 by default.
    pub stride: [usize; 2],
    /// Border of zeros; 0 by default.
    pub padding: [usize; 2],
}

impl Default for Conv2dOptions {
    fn default() -> Conv2dOptions {
        Conv2dOptions { stride: [1, 1], padding: [0, 0] }
    }
}

/// What a convolution computes, going forward and back; `None` is everything.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Output channels of each sample. The others are 0 going forward, and going back their
    /// gradient is taken as 0.
    pub filters: Option<Arc<ActiveFilters>>,
    /// Input channels of each sample. The others are taken as 0 going forward, and going back
    /// their gradient is 0.
    pub channels: Option<Arc<ActiveFilters>>,
}

impl Live {
    fn borrow(&self) -> kernel::Live<'_> {
        kernel::Live { filters: self.filters.as_deref(), channels: self.channels.as_deref() }
    }
}

/// (N, F, OH, OW) of x (N, C, H, W) and weight (F, C, KH, KW), as `torch.nn.functional.conv2d`
/// without bias, dilation and groups.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if an input is not of rank 4,
/// [`Error::Kernel`](crate::Error::Kernel) if the sizes do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, options: Conv2dOptions) -> Result<Tensor> {
    conv2d_gated(x, weight, options, Live::default())
}

/// [`conv2d`] that skips what is not live.
///
/// # Errors
/// As [`conv2d`]; [`Error::Kernel`](crate::Error::Kernel) if a list is not for these samples and
/// channels.
pub fn conv2d_gated(
    x: &Tensor,
    weight: &Tensor,
    options: Conv2dOptions,
    live: Live,
) -> Result<Tensor> {
    conv2d_cached(x, weight, options, live, &Cache::default())
}

/// [`conv2d_gated`] for a layer, whose `cache` keeps what its passes share from step to step.
pub(crate) fn conv2d_cached(
    x: &Tensor,
    weight: &Tensor,
    options: Conv2dOptions,
    live: Live,
    cache: &Cache,
) -> Result<Tensor> {
    let dims = Conv2dDims::new(
        dims("conv2d", "the input must be (N, C, H, W)", x)?,
        dims("conv2d", "the weight must be (F, C, KH, KW)", weight)?,
        options.stride,
        options.padding,
    )?;
    let mut y = storage::take(dims.output_len());
    let passes = cache.passes(isa(&[x, weight])?, &dims)?;
    passes.forward(live.borrow(), x.data(), weight.data(), &mut y)?;
    let [oh, ow] = dims.out_size();
    let shape = [dims.batch(), dims.out_channels(), oh, ow];
    let save = |_: &Tensor| Conv2d { passes, live, x: x.detach(), weight: weight.detach() };
    Tensor::from_op(y, shape, &[x, weight], save)
}

#[derive(Debug)]
struct Conv2d {
    passes: Arc<Passes>,
    live: Live,
    x: Tensor,
    weight: Tensor,
}

impl Backward for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Conv2d { passes, live, x, weight } = self;
        let mut grads = vec![None; 2];
        if needs[0] {
            let mut data = storage::take(x.len());
            passes.backward_input(live.borrow(), grad.data(), weight.data(), &mut data)?;
            grads[0] = Some(Tensor::new(data, x.shape())?);
        }
        if needs[1] {
            let mut data = storage::take(weight.len());
            passes.backward_weight(live.borrow(), x.data(), grad.data(), &mut data)?;
            grads[1] = Some(Tensor::new(data, weight.shape())?);
        }
        Ok(grads)
    }
}
