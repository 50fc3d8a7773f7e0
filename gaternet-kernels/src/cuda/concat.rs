//! Concatenation of the channels of two activations (N, P, stride(C)), and the way back.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Launch, int};
use super::layout::stride;
use super::planes::{Activation, ForBoth, Planes, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::PlaneDims;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("concat.cu", ["plane.cuh", "dev.cuh"]);
static FORWARD: ForBoth = for_both!(&SOURCE, "concat_forward");
static SPLIT: ForBoth = for_both!(&SOURCE, "concat_split");

/// Writes y of `dims`, whose first `a_channels` channels are those of a and whose others are those
/// of b.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit, or there are more channels in a than in y; the
/// driver's errors.
pub fn forward<T: Activation>(
    dims: PlaneDims,
    a_channels: usize,
    [a, b]: [&CudaBuffer<T>; 2],
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "concat_forward";
    let Some(b_channels) = dims.channels.checked_sub(a_channels) else {
        let rule = "the result must have the channels of both";
        return Err(
            KernelError::Dims { op: OP, rule, got: format!("{a_channels} of {dims:?}") }.into()
        );
    };
    let planes = Planes::new(OP, dims)?;
    planes.check(OP, "y", y.len())?;
    let pixels = dims.batch * dims.plane;
    let [a_stride, b_stride] = [a_channels, b_channels].map(stride);
    check_len(OP, "a", pixels * a_stride, a.len())?;
    check_len(OP, "b", pixels * b_stride, b.len())?;
    let [a_channels, a_stride, b_stride] = [
        int(OP, "channels", a_channels)?,
        int(OP, "channels", a_stride)?,
        int(OP, "channels", b_stride)?,
    ];
    let device = &y.device().clone();
    let launch = Launch::new(device, FORWARD.of::<T>())?
        .read(a)
        .read(b)
        .write(y)
        .value(&planes)
        .value(&a_channels)
        .value(&a_stride)
        .value(&b_stride);
    // SAFETY: the parameters of concat_forward; lengths and grid fit the dims, and the channels of
    // a and b are those of y.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Copies channels of x, which has `x_channels`, from channel `first` on to y of `dims`. The
/// gradient of each part of a [`forward`] is such a copy.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit, or x does not have these channels; the driver's
/// errors.
pub fn split<T: Activation>(
    dims: PlaneDims,
    first: usize,
    x_channels: usize,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "concat_split";
    if first.checked_add(dims.channels).is_none_or(|end| end > x_channels) {
        let rule = "the channels must be some of x";
        let got = format!("from {first} of {x_channels}, {dims:?}");
        return Err(KernelError::Dims { op: OP, rule, got }.into());
    }
    let planes = Planes::new(OP, dims)?;
    planes.check(OP, "y", y.len())?;
    let x_stride = stride(x_channels);
    check_len(OP, "x", dims.batch * dims.plane * x_stride, x.len())?;
    let [first, x_stride] = [int(OP, "channels", first)?, int(OP, "channels", x_stride)?];
    let device = &y.device().clone();
    let launch = Launch::new(device, SPLIT.of::<T>())?
        .read(x)
        .write(y)
        .value(&planes)
        .value(&first)
        .value(&x_stride);
    // SAFETY: the parameters of concat_split; lengths and grid fit the dims, and x has the
    // channels.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}
