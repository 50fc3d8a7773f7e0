//! Shake-Shake (Gastaldi 2017): a mean of two activations (N, P, stride(C)) with weights that are
//! drawn for each sample.

use super::buffer::CudaBuffer;
use super::clock::Stream;
use super::error::Result;
use super::launch::Launch;
use super::planes::{Activation, ForBoth, Planes, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::PlaneDims;
use crate::error::KernelError;

pub(super) static SOURCE: Source =
    source!("shake_shake.cu", ["plane.cuh", "random.cuh", "dev.cuh"]);
static FORWARD: ForBoth = for_both!(&SOURCE, "shake_shake_forward");
static BACKWARD: ForBoth = for_both!(&SOURCE, "shake_shake_backward");

/// Computes `y[n] = alpha[n]·a[n] + (1 - alpha[n])·b[n]` with alpha from U(0, 1), or 1/2 without a
/// stream.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`; the driver's errors.
pub fn forward<T: Activation>(
    dims: PlaneDims,
    stream: Option<Stream<'_>>,
    [a, b]: [&CudaBuffer<T>; 2],
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "shake_shake_forward";
    let (planes, number) = check(OP, dims, stream, [("a", a), ("b", b), ("y", y)])?;
    let device = &y.device().clone();
    let launch = Launch::new(device, FORWARD.of::<T>())?
        .read(a)
        .read(b)
        .read_if(stream.map(|stream| &stream.clock.state))
        .write(y)
        .value(&planes)
        .value(&number);
    // SAFETY: the parameters of shake_shake_forward; lengths and grid fit the dims.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Computes `grad_a[n] = beta[n]·grad_y[n]` and `grad_b[n] = (1 - beta[n])·grad_y[n]` with beta
/// from U(0, 1), which is drawn apart from alpha, or 1/2 without a stream.
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward<T: Activation>(
    dims: PlaneDims,
    stream: Option<Stream<'_>>,
    grad_y: &CudaBuffer<T>,
    [grad_a, grad_b]: [&mut CudaBuffer<T>; 2],
) -> Result<()> {
    const OP: &str = "shake_shake_backward";
    let buffers = [("grad_y", grad_y), ("grad_a", &*grad_a), ("grad_b", &*grad_b)];
    let (planes, number) = check(OP, dims, stream, buffers)?;
    let device = &grad_y.device().clone();
    let launch = Launch::new(device, BACKWARD.of::<T>())?
        .read(grad_y)
        .read_if(stream.map(|stream| &stream.clock.state))
        .write(grad_a)
        .write(grad_b)
        .value(&planes)
        .value(&number);
    // SAFETY: the parameters of shake_shake_backward; lengths and grid fit the dims.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Returns the planes, and the number of the stream.
fn check<T>(
    op: &'static str,
    dims: PlaneDims,
    stream: Option<Stream<'_>>,
    buffers: [(&'static str, &CudaBuffer<T>); 3],
) -> Result<(Planes, u32), KernelError> {
    let planes = Planes::new(op, dims)?;
    buffers.iter().try_for_each(|(name, buffer)| planes.check(op, name, buffer.len()))?;
    Ok((planes, stream.map_or(Ok(0), |stream| stream.number(op))?))
}
