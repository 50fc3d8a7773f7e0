//! The L1 loss of gates, which penalises open ones.

use super::buffer::CudaBuffer;
use super::clock::PerStep;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("gate_loss.cu", ["random.cuh", "reduce.cuh", "dev.cuh"]);
static PARTIALS: Kernel = Kernel { source: &SOURCE, name: "gate_l1_partials" };
static SUM: Kernel = Kernel { source: &SOURCE, name: "gate_l1_sum" };
const THREADS: u32 = 256;
const SHARED_BYTES: u32 = 32;
/// The gates that a thread sums before there are more blocks, and the largest number of blocks.
const GATES_OF_THREAD: usize = 4;
const MAX_BLOCKS: usize = 256;

/// The buffers that the results of a loss of gates go to.
#[derive(Debug)]
pub struct Loss<'a> {
    /// The gradient of the gates or gate logits that the loss is of, (N, C). The gradient of the
    /// loss times its weight is added to what is there.
    pub grad: &'a mut CudaBuffer<f32>,
    /// (1), which gets the loss, without its weight.
    pub result: &'a mut CudaBuffer<f32>,
    /// At least (1). The weighted loss times the number of samples is added to the first value, so
    /// that the host need not look after every batch.
    pub totals: &'a mut CudaBuffer<f32>,
    /// Scratch, at least as long as the loss needs.
    pub scratch: &'a mut CudaBuffer<f32>,
}

/// Returns how many values of scratch [`l1`] needs for `len` gates.
#[must_use]
pub fn l1_scratch_len(len: usize) -> usize {
    2 * blocks(len)
}

fn blocks(len: usize) -> usize {
    len.div_ceil(THREADS as usize * GATES_OF_THREAD).min(MAX_BLOCKS)
}

/// Computes the mean of |gate| over the gates (N, C) of N = `samples` samples, and adds
/// `weight·sign(gate)/(N·C)` to the gradient, 0 at a gate of exactly 0.
///
/// The totals are (2): the second value counts samples times the fraction of gates that are not 0.
/// The scratch has at least [`l1_scratch_len`] values. At a step of weight 0 the loss does not
/// count, whatever it is.
///
/// # Errors
/// [`KernelError`] if there is no gate or a length does not fit; the driver's errors.
pub fn l1(
    samples: usize,
    gates: &CudaBuffer<f32>,
    weight: PerStep<'_>,
    loss: &mut Loss<'_>,
) -> Result<()> {
    const OP: &str = "gate_l1";
    if gates.is_empty() {
        let rule = "there must be a gate";
        return Err(KernelError::Dims { op: OP, rule, got: "none".to_owned() }.into());
    }
    let needed = l1_scratch_len(gates.len());
    let Loss { grad: grad_gates, result, totals, scratch } = loss;
    check_len(OP, "grad_gates", gates.len(), grad_gates.len())?;
    check_len(OP, "result", 1, result.len())?;
    check_len(OP, "totals", 2, totals.len())?;
    check_len(OP, "scratch", needed, scratch.len().min(needed))?;
    let (samples, steps) = (int(OP, "samples", samples)?, weight.steps(OP, 1)?);
    let (count, blocks) = (int(OP, "gates", gates.len())?, int(OP, "blocks", blocks(gates.len()))?);
    let device = &result.device().clone();
    let launch = Launch::new(device, &PARTIALS)?
        .read(gates)
        .read(weight.values)
        .read(&weight.clock.state)
        .write(grad_gates)
        .write(scratch)
        .value(&count)
        .value(&steps);
    // SAFETY: the parameters of gate_l1_partials; the lengths are checked, two partial sums for
    // each block.
    unsafe { launch.run([blocks.cast_unsigned(), 1, 1], THREADS, SHARED_BYTES)? };
    let launch = Launch::new(device, &SUM)?
        .read(scratch)
        .read(weight.values)
        .read(&weight.clock.state)
        .write(result)
        .write(totals)
        .value(&blocks)
        .value(&count)
        .value(&samples)
        .value(&steps);
    // SAFETY: the parameters of gate_l1_sum, which reads what was just written.
    unsafe { launch.run([1, 1, 1], THREADS, SHARED_BYTES) }
}
