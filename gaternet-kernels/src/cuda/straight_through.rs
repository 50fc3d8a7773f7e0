//! The gradient of straight-through gates; the gates are [`sem_hash::hard`](super::sem_hash::hard).

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::check_len;

pub(super) static SOURCE: Source = source!("straight_through.cu", ["dev.cuh"]);
static BACKWARD: Kernel = Kernel { source: &SOURCE, name: "straight_through_backward" };
const THREADS: u32 = 256;

/// Writes the gradient of the gate logits g, (N, C), which is that of the gates, but 0 where
/// `|g| > 1` and a step against it would take g further out.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ; the driver's errors.
pub fn backward(
    logits: &CudaBuffer<f32>,
    grad_gates: &CudaBuffer<f32>,
    grad_logits: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "straight_through_backward";
    let len = logits.len();
    check_len(OP, "grad_gates", len, grad_gates.len())?;
    check_len(OP, "grad_logits", len, grad_logits.len())?;
    let count = int(OP, "gates", len)?;
    let device = &grad_logits.device().clone();
    let launch = Launch::new(device, &BACKWARD)?
        .read(logits)
        .read(grad_gates)
        .write(grad_logits)
        .value(&count);
    // SAFETY: the parameters of straight_through_backward; the lengths are checked.
    unsafe { launch.run([count.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}
