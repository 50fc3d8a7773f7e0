//! The price of open gates.

use super::buffer::CudaBuffer;
use super::compile::{Source, source};
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("gate_loss.cu", ["reduce.cuh", "dev.cuh"]);
static PARTIALS: Kernel = Kernel { source: &SOURCE, name: "gate_l1_partials" };
static SUM: Kernel = Kernel { source: &SOURCE, name: "gate_l1_sum" };
const THREADS: u32 = 256;
const SHARED_BYTES: u32 = 32;
/// Gates that a thread sums before there are more blocks, and the most blocks.
const GATES_OF_THREAD: usize = 4;
const MAX_BLOCKS: usize = 256;

/// A gradient to which that of the loss is added.
#[derive(Debug)]
pub struct WeightedGradient<'a> {
    /// (1): how much the loss counts; in device memory, since it may change from step to step.
    pub weight: &'a CudaBuffer<f32>,
    /// As the gates.
    pub gates: &'a mut CudaBuffer<f32>,
}

/// Where results go.
#[derive(Debug)]
pub struct Loss<'a> {
    /// (1): the mean of |gate|.
    pub result: &'a mut CudaBuffer<f32>,
    /// For gates of this many samples, (2): to which samples times that mean, and samples times the share of gates that
    /// are not 0, are added, so that the host may look after many batches.
    pub totals: Option<(usize, &'a mut CudaBuffer<f32>)>,
    /// At least [`l1_scratch_len`].
    pub scratch: &'a mut CudaBuffer<f32>,
}

/// How many values of scratch [`l1`] needs for `len` gates.
#[must_use]
pub fn l1_scratch_len(len: usize) -> usize {
    2 * blocks(len)
}

fn blocks(len: usize) -> usize {
    len.div_ceil(THREADS as usize * GATES_OF_THREAD).min(MAX_BLOCKS)
}

/// The mean of |gate|; `weight·sign(gate)/count` is added to the gradient, 0 at a gate of exactly 0.
///
/// # Errors
/// [`KernelError`] if there is no gate or a length does not fit; the driver's errors.
pub fn l1(
    gates: &CudaBuffer<f32>,
    gradient: Option<WeightedGradient<'_>>,
    loss: Loss<'_>,
) -> Result<()> {
    const OP: &str = "gate_l1";
    if gates.is_empty() {
        let rule = "there must be a gate";
        return Err(KernelError::Dims { op: OP, rule, got: "none".to_owned() }.into());
    }
    let needed = l1_scratch_len(gates.len());
    let Loss { result, totals, scratch } = loss;
    check_len(OP, "result", 1, result.len())?;
    let (samples, totals) = totals.unzip();
    check_len(OP, "totals", 2, totals.as_ref().map_or(2, |totals| totals.len()))?;
    let samples = int(OP, "samples", samples.unwrap_or(0))?;
    check_len(OP, "scratch", needed, scratch.len().min(needed))?;
    let (weight, grad_gates) = match gradient {
        Some(WeightedGradient { weight, gates: grad }) => {
            check_len(OP, "weight", 1, weight.len())?;
            check_len(OP, "grad_gates", gates.len(), grad.len())?;
            (Some(weight), Some(grad))
        }
        None => (None, None),
    };
    let (count, blocks) = (int(OP, "gates", gates.len())?, int(OP, "blocks", blocks(gates.len()))?);
    let device = &result.device().clone();
    let launch = Launch::new(device, &PARTIALS)?
        .read(gates)
        .read_if(weight)
        .write_if(grad_gates)
        .write(scratch)
        .value(&count);
    // SAFETY: the parameters of gate_l1_partials; the lengths are checked, two partial sums for each block.
    unsafe { launch.run([blocks.cast_unsigned(), 1, 1], THREADS, SHARED_BYTES)? };
    let launch = Launch::new(device, &SUM)?
        .read(scratch)
        .write(result)
        .write_if(totals)
        .value(&blocks)
        .value(&count)
        .value(&samples);
    // SAFETY: the parameters of gate_l1_sum, which reads what was just written.
    unsafe { launch.run([1, 1, 1], THREADS, SHARED_BYTES) }
}
