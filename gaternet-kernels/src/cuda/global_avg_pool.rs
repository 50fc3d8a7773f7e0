//! Average pooling of whole planes: from dense activations (N, P, stride(C)) to f32, and back for
//! gradients.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::Launch;
use super::planes::{Activation, ForBoth, Planes, SUM_BYTES, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::PlaneDims;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("global_avg_pool.cu", ["plane.cuh", "dev.cuh"]);
static FORWARD: ForBoth = for_both!(&SOURCE, "global_avg_pool_forward");
static BACKWARD: ForBoth = for_both!(&SOURCE, "global_avg_pool_backward");

/// Writes the mean of each plane of x (N, P, stride(C)) to y (N, C).
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims` or the planes are empty; the driver's errors.
pub fn forward<T: Activation>(
    dims: PlaneDims,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "global_avg_pool_forward";
    let planes = check(OP, dims, ("x", x.len()), ("y", y.len()))?;
    let device = &y.device().clone();
    let launch = Launch::new(device, FORWARD.of::<T>())?.read(x).write(y).value(&planes);
    // SAFETY: the parameters of global_avg_pool_forward; lengths and grid fit the dims.
    unsafe { launch.run(planes.grid(OP)?, THREADS, SUM_BYTES) }
}

/// Writes the gradient of x, (N, P, stride(C)), that follows from `grad_y` (N, C).
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward<T: Activation>(
    dims: PlaneDims,
    grad_y: &CudaBuffer<f32>,
    grad_x: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "global_avg_pool_backward";
    let planes = check(OP, dims, ("grad_x", grad_x.len()), ("grad_y", grad_y.len()))?;
    let device = &grad_x.device().clone();
    let launch = Launch::new(device, BACKWARD.of::<T>())?.read(grad_y).write(grad_x).value(&planes);
    // SAFETY: the parameters of global_avg_pool_backward; lengths and grid fit the dims.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}

fn check(
    op: &'static str,
    dims: PlaneDims,
    (whole, whole_got): (&'static str, usize),
    (means, means_got): (&'static str, usize),
) -> Result<Planes, KernelError> {
    if dims.plane == 0 {
        let rule = "a plane must not be empty";
        return Err(KernelError::Dims { op, rule, got: format!("{dims:?}") });
    }
    let planes = Planes::new(op, dims)?;
    planes.check(op, whole, whole_got)?;
    check_len(op, means, dims.batch * dims.channels, means_got)?;
    Ok(planes)
}
