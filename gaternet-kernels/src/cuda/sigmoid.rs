//! The sigmoid `y = 1 / (1 + exp(-x))` of vectors in f32; NaN stays NaN.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::check_len;

pub(super) static SOURCE: Source = source!("sigmoid.cu", ["dev.cuh"]);
static FORWARD: Kernel = Kernel { source: &SOURCE, name: "sigmoid_forward" };
static BACKWARD: Kernel = Kernel { source: &SOURCE, name: "sigmoid_backward" };
const THREADS: u32 = 256;

/// Computes y of x, element by element; both have the same length.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ; the driver's errors.
pub fn forward(x: &CudaBuffer<f32>, y: &mut CudaBuffer<f32>) -> Result<()> {
    const OP: &str = "sigmoid_forward";
    check_len(OP, "y", x.len(), y.len())?;
    let count = int(OP, "values", x.len())?;
    let device = &y.device().clone();
    let launch = Launch::new(device, &FORWARD)?.read(x).write(y).value(&count);
    // SAFETY: the parameters of sigmoid_forward; the lengths are checked.
    unsafe { launch.run([count.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}

/// Computes the gradient of x from the output y: `grad_y·y·(1 - y)`.
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward(
    y: &CudaBuffer<f32>,
    grad_y: &CudaBuffer<f32>,
    grad_x: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "sigmoid_backward";
    check_len(OP, "grad_y", y.len(), grad_y.len())?;
    check_len(OP, "grad_x", y.len(), grad_x.len())?;
    let count = int(OP, "values", y.len())?;
    let device = &grad_x.device().clone();
    let launch = Launch::new(device, &BACKWARD)?.read(y).read(grad_y).write(grad_x).value(&count);
    // SAFETY: the parameters of sigmoid_backward; the lengths are checked.
    unsafe { launch.run([count.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}
