//! Average pooling over windows of dense activations (N, P, stride(C)), in which the border counts
//! as zeros.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::Launch;
use super::planes::{Activation, ForBoth, THREADS, for_both};
use super::pool2d::windows_of;
use super::source::{Source, source};
use crate::dims::PoolDims;

pub(super) static SOURCE: Source = source!("avg_pool2d.cu", ["pool2d.cuh", "plane.cuh", "dev.cuh"]);
static FORWARD: ForBoth = for_both!(&SOURCE, "avg_pool2d_forward");
static BACKWARD: ForBoth = for_both!(&SOURCE, "avg_pool2d_backward");

/// Writes the means of the windows of x (N, H·W, S) to y (N, OH·OW, S), S = stride(C).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a buffer does not fit `dims`; the driver's errors.
pub fn forward<T: Activation>(
    dims: &PoolDims,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "avg_pool2d_forward";
    let (windows, [of_x, of_y]) = windows_of(OP, dims)?;
    of_x.check(OP, "x", x.len())?;
    of_y.check(OP, "y", y.len())?;
    let device = &y.device().clone();
    let launch =
        Launch::new(device, FORWARD.of::<T>())?.read(x).write(y).value(&of_y).value(&windows);
    // SAFETY: the parameters of avg_pool2d_forward; lengths and grid fit the dims, and the kernel
    // stays inside the planes.
    unsafe { launch.run(of_y.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Writes the gradient of x, (N, H·W, S), that follows from `grad_y` (N, OH·OW, S).
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward<T: Activation>(
    dims: &PoolDims,
    grad_y: &CudaBuffer<T>,
    grad_x: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "avg_pool2d_backward";
    let (windows, [of_x, of_y]) = windows_of(OP, dims)?;
    of_y.check(OP, "grad_y", grad_y.len())?;
    of_x.check(OP, "grad_x", grad_x.len())?;
    let device = &grad_x.device().clone();
    let launch = Launch::new(device, BACKWARD.of::<T>())?
        .read(grad_y)
        .write(grad_x)
        .value(&of_x)
        .value(&windows);
    // SAFETY: the parameters of avg_pool2d_backward; as above.
    unsafe { launch.run(of_x.grid_of_pixels(OP)?, THREADS, 0) }
}
