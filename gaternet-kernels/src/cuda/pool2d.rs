//! Pools of windows of dense activations (N, P, stride(C)): means, in which the border counts as zeros, and maxima, which it
//! never is.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Launch, Value, int};
use super::planes::{Activation, ForBoth, Planes, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::{PlaneDims, PoolDims};
use crate::error::KernelError;

pub(super) static SOURCE: Source = source!("pool2d.cu", ["plane.cuh", "dev.cuh"]);
static AVG: ForBoth = for_both!(&SOURCE, "pool2d_avg");
static AVG_BACKWARD: ForBoth = for_both!(&SOURCE, "pool2d_avg_backward");
static MAX: ForBoth = for_both!(&SOURCE, "pool2d_max");
static MAX_BACKWARD: ForBoth = for_both!(&SOURCE, "pool2d_max_backward");

/// Mirrors `Windows` of pool2d.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Windows {
    /// (height, width) of input, output, kernel, stride and padding.
    sizes: [[i32; 2]; 5],
}

// SAFETY: the same ints in the same order.
unsafe impl Value for Windows {}

/// Means of the windows: y (N, OH·OW, S) of x (N, H·W, S).
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`; the driver's errors.
pub fn avg_forward<T: Activation>(
    dims: &PoolDims,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "avg_forward";
    let (windows, [of_x, of_y]) = check(OP, dims)?;
    of_x.check(OP, "x", x.len())?;
    of_y.check(OP, "y", y.len())?;
    let device = &y.device().clone();
    let launch = Launch::new(device, AVG.of::<T>())?.read(x).write(y).value(&of_y).value(&windows);
    // SAFETY: the parameters of pool2d_avg; lengths and grid fit the dims, and the kernel stays inside the planes.
    unsafe { launch.run(of_y.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Gradient of x (N, H·W, S) from `grad_y` (N, OH·OW, S).
///
/// # Errors
/// As [`avg_forward`].
pub fn avg_backward<T: Activation>(
    dims: &PoolDims,
    grad_y: &CudaBuffer<T>,
    grad_x: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "avg_backward";
    let (windows, [of_x, of_y]) = check(OP, dims)?;
    of_y.check(OP, "grad_y", grad_y.len())?;
    of_x.check(OP, "grad_x", grad_x.len())?;
    let device = &grad_x.device().clone();
    let launch = Launch::new(device, AVG_BACKWARD.of::<T>())?
        .read(grad_y)
        .write(grad_x)
        .value(&of_x)
        .value(&windows);
    // SAFETY: the parameters of pool2d_avg_backward; as above.
    unsafe { launch.run(of_x.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Maxima of the windows: y (N, OH·OW, S) of x (N, H·W, S); NaN where a window holds one.
///
/// # Errors
/// As [`avg_forward`].
pub fn max_forward<T: Activation>(
    dims: &PoolDims,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "max_forward";
    let (windows, [of_x, of_y]) = check(OP, dims)?;
    of_x.check(OP, "x", x.len())?;
    of_y.check(OP, "y", y.len())?;
    let device = &y.device().clone();
    let launch = Launch::new(device, MAX.of::<T>())?.read(x).write(y).value(&of_y).value(&windows);
    // SAFETY: the parameters of pool2d_max; as above.
    unsafe { launch.run(of_y.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Gradient of x (N, H·W, S) from x and `grad_y` (N, OH·OW, S): each goes to the value that its window shows, the first of
/// equals.
///
/// # Errors
/// As [`avg_forward`].
pub fn max_backward<T: Activation>(
    dims: &PoolDims,
    x: &CudaBuffer<T>,
    grad_y: &CudaBuffer<T>,
    grad_x: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "max_backward";
    let (windows, [of_x, of_y]) = check(OP, dims)?;
    of_x.check(OP, "x", x.len())?;
    of_y.check(OP, "grad_y", grad_y.len())?;
    of_x.check(OP, "grad_x", grad_x.len())?;
    let device = &grad_x.device().clone();
    let launch = Launch::new(device, MAX_BACKWARD.of::<T>())?
        .read(x)
        .read(grad_y)
        .write(grad_x)
        .value(&of_x)
        .value(&windows);
    // SAFETY: the parameters of pool2d_max_backward; as above.
    unsafe { launch.run(of_x.grid_of_pixels(OP)?, THREADS, 0) }
}

/// The windows, and the planes of x and y.
fn check(op: &'static str, dims: &PoolDims) -> Result<(Windows, [Planes; 2]), KernelError> {
    let mut windows = Windows { sizes: [[0; 2]; 5] };
    let sizes = [dims.in_size(), dims.out_size(), dims.kernel(), dims.stride(), dims.padding()];
    let names = ["input", "output", "kernel", "stride", "padding"];
    for ((to, from), name) in windows.sizes.iter_mut().zip(sizes).zip(names) {
        *to = [int(op, name, from[0])?, int(op, name, from[1])?];
    }
    let (batch, channels) = (dims.batch(), dims.channels());
    let planes = |[h, w]: [usize; 2]| Planes::new(op, PlaneDims { batch, channels, plane: h * w });
    Ok((windows, [planes(dims.in_size())?, planes(dims.out_size())?]))
}
