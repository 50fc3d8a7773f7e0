//! Gates of Improved SemHash (Kaiser & Bengio 2018) of gate logits (N, C), in f32.

use super::buffer::CudaBuffer;
use super::clock::Clock;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source =
    source!("sem_hash.cu", ["gate_value.cuh", "random.cuh", "dev.cuh"]);
static FORWARD: Kernel = Kernel { source: &SOURCE, name: "sem_hash_forward" };
static BACKWARD: Kernel = Kernel { source: &SOURCE, name: "sem_hash_backward" };
static EVALUATE: Kernel = Kernel { source: &SOURCE, name: "sem_hash_evaluate" };
const THREADS: u32 = 256;

/// The randomness of one training batch.
#[derive(Debug, Clone, Copy)]
pub enum Draw<'a> {
    /// Noise from N(0, 1) for each gate and a fair coin for each sample: functions of the clock,
    /// the stream and the place.
    Random {
        /// The clock whose seed and step count.
        clock: &'a Clock,
        /// A number below 2^30 that tells apart the noise of several calls in one step.
        stream: u32,
    },
    /// Noise and coins that were drawn elsewhere.
    Given {
        /// The noise that is added to the gate logits, (N, C).
        noise: &'a CudaBuffer<f32>,
        /// One value for each sample, (N): not 0 where its gates are 0 or 1.
        discrete: &'a CudaBuffer<u8>,
    },
}

/// Writes the gates (N, C) of training of N = `batch` samples. With `g = logit + noise` they are
/// `1(g > 0)` in samples whose coin says discrete, and `max(0, min(1, 1.2·sigmoid(g) - 0.1))` in
/// the others. `noisy` (N, C) gets g, for [`backward`].
///
/// # Errors
/// [`KernelError`] if the lengths do not fit; the driver's errors.
pub fn forward(
    batch: usize,
    logits: &CudaBuffer<f32>,
    draw: Draw<'_>,
    noisy: &mut CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "sem_hash_forward";
    let len = logits.len();
    let columns = match len.checked_rem(batch) {
        Some(0) => len / batch,
        None if len == 0 => 0,
        _ => {
            let rule = "every sample must have as many gates";
            let got = format!("{len} gates of {batch} samples");
            return Err(KernelError::Dims { op: OP, rule, got }.into());
        }
    };
    check_len(OP, "noisy", len, noisy.len())?;
    check_len(OP, "gates", len, gates.len())?;
    let (noise, coins, clock, stream) = match draw {
        Draw::Random { clock, stream } if stream < 1 << 30 => (None, None, Some(clock), stream),
        Draw::Random { stream, .. } => {
            let rule = "the stream must be below 2^30";
            return Err(KernelError::Dims { op: OP, rule, got: stream.to_string() }.into());
        }
        Draw::Given { noise, discrete } => {
            check_len(OP, "noise", len, noise.len())?;
            check_len(OP, "discrete", batch, discrete.len())?;
            (Some(noise), Some(discrete), None, 0)
        }
    };
    let (count, columns) = (int(OP, "gates", len)?, int(OP, "gates", columns)?);
    let device = &gates.device().clone();
    let launch = Launch::new(device, &FORWARD)?
        .read(logits)
        .read_if(noise)
        .read_if(coins)
        .read_if(clock.map(|clock| &clock.state))
        .write(noisy)
        .write(gates)
        .value(&stream)
        .value(&count)
        .value(&columns);
    // SAFETY: the parameters of sem_hash_forward; the lengths are checked, and there is a clock if
    // anything is drawn.
    unsafe { launch.run([count.cast_unsigned().div_ceil(4 * THREADS), 1, 1], THREADS, 0) }
}

/// Writes the gradient of the gate logits, (N, C), that follows from that of the gates: for all
/// samples the gradient of the soft gates (straight through), so 0 where a soft gate is 0 or 1.
///
/// # Errors
/// [`KernelError`] if the lengths differ; the driver's errors.
pub fn backward(
    noisy: &CudaBuffer<f32>,
    grad_gates: &CudaBuffer<f32>,
    grad_logits: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "sem_hash_backward";
    check_len(OP, "grad_gates", noisy.len(), grad_gates.len())?;
    check_len(OP, "grad_logits", noisy.len(), grad_logits.len())?;
    let count = int(OP, "gates", noisy.len())?;
    let device = &grad_logits.device().clone();
    let launch = Launch::new(device, &BACKWARD)?
        .read(noisy)
        .read(grad_gates)
        .write(grad_logits)
        .value(&count);
    // SAFETY: the parameters of sem_hash_backward; the lengths are checked.
    unsafe { launch.run([count.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}

/// Writes the gates (N, C) of evaluation: 1 where the soft gate
/// `max(0, min(1, 1.2·sigmoid(logit) - 0.1))` is above 0.49999, so that a gate logit of exactly 0
/// opens its gate, else 0; NaN stays NaN.
///
/// # Errors
/// Fails as [`backward`] does.
pub fn hard(logits: &CudaBuffer<f32>, gates: &mut CudaBuffer<f32>) -> Result<()> {
    evaluate("sem_hash_hard", true, logits, gates)
}

/// Writes the soft gates `max(0, min(1, 1.2·sigmoid(logit) - 0.1))`, (N, C), without noise.
///
/// # Errors
/// Fails as [`backward`] does.
pub fn soft(logits: &CudaBuffer<f32>, gates: &mut CudaBuffer<f32>) -> Result<()> {
    evaluate("sem_hash_soft", false, logits, gates)
}

fn evaluate(
    op: &'static str,
    discrete: bool,
    logits: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    check_len(op, "gates", logits.len(), gates.len())?;
    let (count, discrete) = (int(op, "gates", logits.len())?, i32::from(discrete));
    let device = &gates.device().clone();
    let launch =
        Launch::new(device, &EVALUATE)?.read(logits).write(gates).value(&count).value(&discrete);
    // SAFETY: the parameters of sem_hash_evaluate; the lengths are checked.
    unsafe { launch.run([count.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}
