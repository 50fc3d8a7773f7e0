//! Stochastic gradient descent as `torch.optim.SGD`, on f32 parameters of any layout.

use half::bf16;

use super::buffer::CudaBuffer;
use super::clock::Clock;
use super::compile::{Source, source};
use super::error::Result;
use super::launch::{Kernel, Launch, Value, int};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("sgd.cu", ["random.cuh", "dev.cuh"]);
static STEP: Kernel = Kernel { source: &SOURCE, name: "sgd_step" };
const THREADS: u32 = 256;

/// What stays the same in all steps; [`SgdConfig`](crate::cpu::sgd::SgdConfig) without the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Constants {
    /// Share of the velocity that is kept; 0 for plain gradient descent.
    pub momentum: f32,
    /// Share of the gradient that does not enter the velocity (after the first step).
    pub dampening: f32,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

/// What a step changes.
#[derive(Debug)]
pub struct State<'a> {
    /// The f32 parameter.
    pub param: &'a mut CudaBuffer<f32>,
    /// As the parameter; absent if and only if the momentum is 0.
    pub velocity: Option<&'a mut CudaBuffer<f32>>,
    /// As the parameter, which it gets rounded to bf16.
    pub copy: Option<&'a mut CudaBuffer<bf16>>,
}

/// One step with the learning rate of `clock`'s step in `rates` (beyond them the last): with
/// `g = grad + weight_decay·param`, `v = momentum·v + (1 - dampening)·g` (at step 0 `v = g`, whatever v holds) and
/// `param -= lr·v`, or `lr·(g + momentum·v)` with Nesterov. Without momentum `param -= lr·g`.
///
/// A convolution's weight is as [`Rows`](super::layout::Rows) says, like its gradient: its padding stays 0.
///
/// # Errors
/// [`KernelError`] if the lengths differ, there is no rate, or there is a velocity where there should be none or the other
/// way round; the driver's errors.
pub fn step(
    constants: Constants,
    clock: &Clock,
    rates: &CudaBuffer<f32>,
    grad: &CudaBuffer<f32>,
    state: State<'_>,
) -> Result<()> {
    const OP: &str = "sgd_step";
    let State { param, velocity, copy } = state;
    let len = param.len();
    let fail = |rule, got| Err(KernelError::Dims { op: OP, rule, got }.into());
    if rates.is_empty() {
        return fail("there must be a learning rate", "none".to_owned());
    }
    if velocity.is_some() == (constants.momentum == 0.0) {
        let got = format!("momentum {}", constants.momentum);
        return fail("there must be a velocity if and only if there is momentum", got);
    }
    check_len(OP, "grad", len, grad.len())?;
    check_len(OP, "velocity", len, velocity.as_ref().map_or(len, |velocity| velocity.len()))?;
    check_len(OP, "copy", len, copy.as_ref().map_or(len, |copy| copy.len()))?;
    let (steps, length) = (int(OP, "steps", rates.len())?, int(OP, "length", len)?);
    let Constants { momentum, dampening, weight_decay, nesterov } = constants;
    let constants = Raw { momentum, dampening, weight_decay, nesterov: i32::from(nesterov) };
    let device = &param.device().clone();
    let launch = Launch::new(device, &STEP)?
        .read(&clock.state)
        .read(rates)
        .read(grad)
        .write(param)
        .write_if(velocity)
        .write_if(copy)
        .value(&constants)
        .value(&steps)
        .value(&length);
    // SAFETY: the parameters of sgd_step; the lengths are checked.
    unsafe { launch.run([length.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}

/// Mirrors `Constants` of sgd.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Raw {
    momentum: f32,
    dampening: f32,
    weight_decay: f32,
    nesterov: i32,
}

// SAFETY: the same floats and int in the same order.
unsafe impl Value for Raw {}
