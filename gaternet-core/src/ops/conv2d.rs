//! 2-D convolution, of which inactive filters and channels are skipped.

use std::sync::Arc;

use gaternet_kernels::cpu::conv2d::{self as kernel, Cache, Passes};
use gaternet_kernels::{ActiveFilters, Conv2dDims};

use super::{dims, isa};
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// Stride and padding of a convolution, each (height, width); by default 1 and 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conv2dOptions {
    /// Step of the kernel, in pixels of the input.
    pub stride: [usize; 2],
    /// Width of the border of zeros around the input, in pixels.
    pub padding: [usize; 2],
}

impl Conv2dOptions {
    /// A step of 1 and no border.
    #[must_use]
    pub const fn new() -> Conv2dOptions {
        Conv2dOptions { stride: [1, 1], padding: [0, 0] }
    }

    /// The same step and border for height and width: `Conv2d(.., stride, padding)` of PyTorch.
    #[must_use]
    pub const fn square(stride: usize, padding: usize) -> Conv2dOptions {
        Conv2dOptions { stride: [stride; 2], padding: [padding; 2] }
    }

    /// The same options with this step (height, width).
    #[must_use]
    pub const fn with_stride(self, stride: [usize; 2]) -> Conv2dOptions {
        Conv2dOptions { stride, ..self }
    }

    /// The same options with this border (height, width).
    #[must_use]
    pub const fn with_padding(self, padding: [usize; 2]) -> Conv2dOptions {
        Conv2dOptions { padding, ..self }
    }
}

impl Default for Conv2dOptions {
    fn default() -> Conv2dOptions {
        Conv2dOptions::new()
    }
}

/// The filters and input channels that are active in each sample of a convolution, going forward
/// and back; by default all. [`ActiveFilters`] is the list of one side.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Active {
    /// The active filters of each sample; `None` if all are. The output of the others is 0 going
    /// forward, and going back its gradient is taken as 0.
    pub filters: Option<Arc<ActiveFilters>>,
    /// The active input channels of each sample; `None` if all are. The others are taken as 0 going
    /// forward, and going back their gradient is 0.
    pub channels: Option<Arc<ActiveFilters>>,
}

impl Active {
    /// The same channels with these filters; `None` for all.
    #[must_use]
    pub fn with_filters(self, filters: Option<Arc<ActiveFilters>>) -> Active {
        Active { filters, ..self }
    }

    /// The same filters with these input channels; `None` for all.
    #[must_use]
    pub fn with_channels(self, channels: Option<Arc<ActiveFilters>>) -> Active {
        Active { channels, ..self }
    }

    fn borrow(&self) -> kernel::Active<'_> {
        let active = kernel::Active::default().with_filters(self.filters.as_deref());
        active.with_channels(self.channels.as_deref())
    }
}

/// (N, F, OH, OW) of x (N, C, H, W) and weight (F, C, KH, KW), as `torch.nn.functional.conv2d`
/// without bias, dilation and groups.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if an input is not of rank 4,
/// [`Error::Kernel`](crate::Error::Kernel) if the sizes do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, options: Conv2dOptions) -> Result<Tensor> {
    conv2d_gated(x, weight, options, Active::default())
}

/// [`conv2d`] that skips inactive filters and channels.
///
/// # Errors
/// As [`conv2d`]; [`Error::Kernel`](crate::Error::Kernel) if a list is not for these samples and
/// channels.
pub fn conv2d_gated(
    x: &Tensor,
    weight: &Tensor,
    options: Conv2dOptions,
    active: Active,
) -> Result<Tensor> {
    conv2d_cached(x, weight, options, active, &Cache::default())
}

/// [`conv2d_gated`] for a layer, whose `cache` keeps what its passes share from step to step.
pub(crate) fn conv2d_cached(
    x: &Tensor,
    weight: &Tensor,
    options: Conv2dOptions,
    active: Active,
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
    passes.forward(active.borrow(), x.data(), weight.data(), &mut y)?;
    let [oh, ow] = dims.out_size();
    let shape = [dims.batch(), dims.out_channels(), oh, ow];
    let save = |_: &Tensor| Conv2d { passes, active, x: x.detach(), weight: weight.detach() };
    Tensor::from_op(y, shape, &[x, weight], save)
}

#[derive(Debug)]
struct Conv2d {
    passes: Arc<Passes>,
    active: Active,
    x: Tensor,
    weight: Tensor,
}

impl Backward for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Conv2d { passes, active, x, weight } = self;
        let mut grads = vec![None; 2];
        if needs[0] {
            let mut data = storage::take(x.len());
            passes.backward_input(active.borrow(), grad.data(), weight.data(), &mut data)?;
            grads[0] = Some(Tensor::new(data, x.shape())?);
        }
        if needs[1] {
            let mut data = storage::take(weight.len());
            passes.backward_weight(active.borrow(), x.data(), grad.data(), &mut data)?;
            grads[1] = Some(Tensor::new(data, weight.shape())?);
        }
        Ok(grads)
    }
}
