//! Average pools of dense activations (N, P, stride(C)): of whole planes, to and from f32, and of windows.

use super::buffer::CudaBuffer;
use super::compile::{Source, source};
use super::error::Result;
use super::launch::{Launch, Value, int};
use super::layout::stride;
use super::planes::{Activation, ForBoth, Planes, SUM_BYTES, THREADS, for_both};
use crate::dims::{PlaneDims, PoolDims};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("pool.cu", ["plane.cuh", "dev.cuh"]);
static GLOBAL_AVG: ForBoth = for_both!(&SOURCE, "pool_global_avg");
static GLOBAL_AVG_BACKWARD: ForBoth = for_both!(&SOURCE, "pool_global_avg_backward");
static AVG: ForBoth = for_both!(&SOURCE, "pool_avg");

/// Mean of each plane: y (N, C) of x (N, P, S).
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims` or the planes are empty; the driver's errors.
pub fn global_avg_forward<T: Activation>(
    dims: PlaneDims,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "global_avg_forward";
    let planes = check(OP, dims, ("x", x.len()), ("y", y.len()))?;
    let device = &y.device().clone();
    let launch = Launch::new(device, GLOBAL_AVG.of::<T>())?.read(x).write(y).value(&planes);
    // SAFETY: the parameters of pool_global_avg; lengths and grid fit the dims.
    unsafe { launch.run(planes.grid(OP)?, THREADS, SUM_BYTES) }
}

/// Gradient of x (N, P, S) from `grad_y` (N, C).
///
/// # Errors
/// As [`global_avg_forward`].
pub fn global_avg_backward<T: Activation>(
    dims: PlaneDims,
    grad_y: &CudaBuffer<f32>,
    grad_x: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "global_avg_backward";
    let planes = check(OP, dims, ("grad_x", grad_x.len()), ("grad_y", grad_y.len()))?;
    let device = &grad_x.device().clone();
    let launch = Launch::new(device, GLOBAL_AVG_BACKWARD.of::<T>())?
        .read(grad_y)
        .write(grad_x)
        .value(&planes);
    // SAFETY: the parameters of pool_global_avg_backward; lengths and grid fit the dims.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Means of the windows, zeros of the padding included: y (N, OH·OW, S) of x (N, H·W, S).
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`; the driver's errors.
pub fn avg_forward<T: Activation>(
    dims: &PoolDims,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "avg_forward";
    let size =
        |what, [h, w]: [usize; 2]| Ok::<_, KernelError>([int(OP, what, h)?, int(OP, what, w)?]);
    let [in_h, in_w] = size("input", dims.in_size())?;
    let [out_h, out_w] = size("output", dims.out_size())?;
    let [kernel_h, kernel_w] = size("kernel", dims.kernel())?;
    let [stride_h, stride_w] = size("stride", dims.stride())?;
    let [padding_h, padding_w] = size("padding", dims.padding())?;
    let windows = Windows {
        in_h,
        in_w,
        out_h,
        out_w,
        kernel_h,
        kernel_w,
        stride_h,
        stride_w,
        padding_h,
        padding_w,
    };
    let (batch, channels) = (dims.batch(), dims.channels());
    let plane = |[h, w]: [usize; 2]| h * w;
    let of_x = plane(dims.in_size());
    check_len(OP, "x", batch * of_x * stride(channels), x.len())?;
    // Places in a window are counted in ints.
    int(OP, "pixels", of_x)?;
    let planes = Planes::new(OP, PlaneDims { batch, channels, plane: plane(dims.out_size()) })?;
    planes.check(OP, "y", y.len())?;
    let device = &y.device().clone();
    let launch =
        Launch::new(device, AVG.of::<T>())?.read(x).write(y).value(&planes).value(&windows);
    // SAFETY: the parameters of pool_avg; lengths and grid fit the dims, and the kernel stays inside the planes of x.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Mirrors `Windows` of pool.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Windows {
    in_h: i32,
    in_w: i32,
    out_h: i32,
    out_w: i32,
    kernel_h: i32,
    kernel_w: i32,
    stride_h: i32,
    stride_w: i32,
    padding_h: i32,
    padding_w: i32,
}

// SAFETY: the same ints in the same order.
unsafe impl Value for Windows {}

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
