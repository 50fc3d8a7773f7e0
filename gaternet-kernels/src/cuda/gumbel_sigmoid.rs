//! Gumbel-sigmoid gates (binary concrete) of gate logits (N, C), in f32.

use super::buffer::CudaBuffer;
use super::clock::PerStep;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source =
    source!("gumbel_sigmoid.cu", ["gate_value.cuh", "random.cuh", "dev.cuh"]);
static FORWARD: Kernel = Kernel { source: &SOURCE, name: "gumbel_sigmoid_forward" };
static BACKWARD: Kernel = Kernel { source: &SOURCE, name: "gumbel_sigmoid_backward" };
const THREADS: u32 = 256;

/// The noise of one training batch.
#[derive(Debug, Clone, Copy)]
pub enum Noise<'a> {
    /// Noise from the logistic distribution for each gate, which is a function of the clock, the
    /// stream and the place.
    Random {
        /// A number below 2^30 that tells apart the noise of several calls in one step.
        stream: u32,
    },
    /// Noise that was drawn elsewhere, (N, C).
    Given(&'a CudaBuffer<f32>),
}

/// Writes the gates (N, C) of training: with `g = logits + noise` they are `sigmoid(g / tau)` or,
/// if `hard`, `1(g > 0)`. `noisy` (N, C) gets g, for [`backward`].
///
/// # Errors
/// [`KernelError`] if the lengths do not fit or there is no temperature; the driver's errors.
pub fn forward(
    logits: &CudaBuffer<f32>,
    noise: Noise<'_>,
    tau: PerStep<'_>,
    hard: bool,
    noisy: &mut CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "gumbel_sigmoid_forward";
    let len = logits.len();
    check_len(OP, "noisy", len, noisy.len())?;
    check_len(OP, "gates", len, gates.len())?;
    let (given, stream) = match noise {
        Noise::Given(noise) => {
            check_len(OP, "noise", len, noise.len())?;
            (Some(noise), 0)
        }
        Noise::Random { stream } if stream < 1 << 30 => (None, stream),
        Noise::Random { stream } => {
            let rule = "the stream must be below 2^30";
            return Err(KernelError::Dims { op: OP, rule, got: stream.to_string() }.into());
        }
    };
    let (steps, hard, count) = (tau.steps(OP, 1)?, i32::from(hard), int(OP, "gates", len)?);
    let device = &gates.device().clone();
    let launch = Launch::new(device, &FORWARD)?
        .read(logits)
        .read_if(given)
        .read(&tau.clock.state)
        .read(tau.values)
        .write(noisy)
        .write(gates)
        .value(&stream)
        .value(&steps)
        .value(&hard)
        .value(&count);
    // SAFETY: the parameters of gumbel_sigmoid_forward; the lengths are checked.
    unsafe { launch.run([count.cast_unsigned().div_ceil(4 * THREADS), 1, 1], THREADS, 0) }
}

/// Writes the gradient of the gate logits, (N, C), that follows from that of the gates: the
/// gradient of `sigmoid(noisy / tau)` for hard gates too (straight through). With a temperature of
/// 1 it is also the gradient of top-k, whose `noisy` are the gate logits.
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward(
    noisy: &CudaBuffer<f32>,
    grad_gates: &CudaBuffer<f32>,
    tau: PerStep<'_>,
    grad_logits: &mut CudaBuffer<f32>,
) -> Result<()> {
    const OP: &str = "gumbel_sigmoid_backward";
    check_len(OP, "grad_gates", noisy.len(), grad_gates.len())?;
    check_len(OP, "grad_logits", noisy.len(), grad_logits.len())?;
    let (steps, count) = (tau.steps(OP, 1)?, int(OP, "gates", noisy.len())?);
    let device = &grad_logits.device().clone();
    let launch = Launch::new(device, &BACKWARD)?
        .read(noisy)
        .read(grad_gates)
        .read(&tau.clock.state)
        .read(tau.values)
        .write(grad_logits)
        .value(&steps)
        .value(&count);
    // SAFETY: the parameters of gumbel_sigmoid_backward; the lengths are checked.
    unsafe { launch.run([count.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}
