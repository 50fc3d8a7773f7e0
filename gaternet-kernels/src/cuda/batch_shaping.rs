//! Batch-shaping (Bejnordi et al. 2020): the loss that pulls the probabilities of each gate over a
//! batch towards a Beta distribution.

use bytemuck::NoUninit;

use super::buffer::CudaBuffer;
use super::clock::PerStep;
use super::error::Result;
use super::gate_loss::Loss;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source =
    source!("batch_shaping.cu", ["gate_value.cuh", "random.cuh", "reduce.cuh", "dev.cuh"]);
static SHAPE: Kernel = Kernel { source: &SOURCE, name: "batch_shaping" };
static SUM: Kernel = Kernel { source: &SOURCE, name: "batch_shaping_sum" };
const OP: &str = "batch_shaping";
const THREADS: u32 = 256;
/// A block has a float for each sample and eight more in the shared memory that every device has.
const MAX_BATCH: usize = 48 * 1024 / 4 - 8;

/// Computes the loss, and adds its gradient with respect to the gate logits (N, C), times its
/// weight, to `loss.grad`.
///
/// The loss is the Cramér-von-Mises distance of the probabilities `sigmoid(logits)` of a gate over
/// the N = `batch` samples from Beta(a, b), averaged over the C gates. The scratch has at least C
/// values. At a step of weight 0 the loss does not count, whatever it is.
///
/// # Errors
/// [`KernelError`] if a or b is not above 0 and at most 100, there is no gate, a batch has more
/// than 12,280 samples, or a length does not fit; the driver's errors.
pub fn forward_backward(
    [a, b]: [f64; 2],
    batch: usize,
    logits: &CudaBuffer<f32>,
    weight: PerStep<'_>,
    loss: &mut Loss<'_>,
) -> Result<()> {
    let fail = |rule, got| Err(KernelError::Dims { op: OP, rule, got }.into());
    let len = logits.len();
    if batch == 0 || batch > MAX_BATCH || len == 0 || !len.is_multiple_of(batch) {
        let rule = "1 to 12,280 samples must have as many gates each";
        return fail(rule, format!("{len} gates of {batch} samples"));
    }
    if ![a, b].iter().all(|value| *value > 0.0 && *value <= 100.0) {
        return fail("a and b must be above 0 and at most 100", format!("{a} and {b}"));
    }
    let columns = len / batch;
    let Loss { grad: grad_logits, result, totals, scratch } = loss;
    check_len(OP, "grad_logits", len, grad_logits.len())?;
    check_len(OP, "result", 1, result.len())?;
    check_len(OP, "totals", 1, totals.len().min(1))?;
    check_len(OP, "scratch", columns, scratch.len().min(columns))?;
    let steps = weight.steps(OP, 1)?;
    int(OP, "gates", len)?;
    let (batch, columns) = (int(OP, "batch", batch)?, int(OP, "columns", columns)?);
    let raw = Raw { a, b, batch, columns, steps, padding: 0 };
    let device = &result.device().clone();
    let launch = Launch::new(device, &SHAPE)?
        .read(logits)
        .read(weight.values)
        .read(&weight.clock.state)
        .write(grad_logits)
        .write(scratch)
        .value(&raw);
    let shared_bytes = 4 * (8 + batch.cast_unsigned());
    // SAFETY: the parameters of batch_shaping; a block has a column and a float of shared memory
    // for each sample.
    unsafe { launch.run([columns.cast_unsigned(), 1, 1], THREADS, shared_bytes)? };
    let launch = Launch::new(device, &SUM)?
        .read(scratch)
        .read(weight.values)
        .read(&weight.clock.state)
        .write(result)
        .write(totals)
        .value(&batch)
        .value(&columns)
        .value(&steps);
    // SAFETY: the parameters of batch_shaping_sum, which reads what was just written.
    unsafe { launch.run([1, 1, 1], THREADS, 32) }
}

/// Mirrors `Shaping` of batch_shaping.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Raw {
    a: f64,
    b: f64,
    batch: i32,
    columns: i32,
    steps: i32,
    /// Fills up to a multiple of 8 bytes, as C++ does.
    padding: i32,
}
