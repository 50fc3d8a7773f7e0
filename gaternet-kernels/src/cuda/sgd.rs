//! Stochastic gradient descent as `torch.optim.SGD`, on f32 parameters of any layout: one launch
//! for all of them.

use bytemuck::NoUninit;
use half::bf16;

use super::buffer::CudaBuffer;
use super::clock::Clock;
use super::device::CudaDevice;
use super::error::Result;
use super::launch::{Kernel, Launch, address, int};
use super::source::{Source, source};
use super::table::{Rows, THREADS, Table};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source =
    source!("sgd.cu", ["random.cuh", "reduce.cuh", "table.cuh", "dev.cuh"]);
static STEP: Kernel = Kernel { source: &SOURCE, name: "sgd_step" };
static SQUARES: Kernel = Kernel { source: &SOURCE, name: "sgd_squares" };
static CLIP: Kernel = Kernel { source: &SOURCE, name: "sgd_clip" };
const OP: &str = "sgd";
/// The bytes of shared memory that reduce.cuh needs for a sum of doubles.
const SUM_BYTES: u32 = 8 * THREADS;

/// The settings that are the same in all steps and for all parameters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Constants {
    /// The fraction of the velocity that is kept; 0 for plain gradient descent.
    pub momentum: f32,
    /// The fraction of the gradient that does not enter the velocity (after the first step).
    pub dampening: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
    /// The largest Euclidean norm of all gradients together; longer ones are scaled down to it.
    pub max_norm: Option<f32>,
}

/// A parameter with the buffers it is trained with. All but the rates are as long as the parameter.
#[derive(Debug)]
pub struct Param<'a> {
    /// The learning rate of each step; beyond the last step, the last. All parameters have as many.
    pub rates: &'a CudaBuffer<f32>,
    /// The factor by which the parameter is added to the gradient.
    pub weight_decay: f32,
    /// The gradient.
    pub grad: &'a CudaBuffer<f32>,
    /// The f32 parameter.
    pub param: &'a mut CudaBuffer<f32>,
    /// The velocity, which is absent if and only if the momentum is 0.
    pub velocity: Option<&'a mut CudaBuffer<f32>>,
    /// The copy of the parameter in bf16, which every step writes.
    pub copy: Option<&'a mut CudaBuffer<bf16>>,
}

/// The optimiser of the parameters of a model, whose memory it keeps.
#[derive(Debug)]
pub struct Sgd {
    table: Table,
    constants: Raw,
    clip: Option<Clip>,
}

#[derive(Debug)]
struct Clip {
    max_norm: f32,
    /// The sums of squares of the parts, (parts).
    squares: CudaBuffer<f64>,
    /// The factor that clips the gradients, (1).
    factor: CudaBuffer<f32>,
}

impl Sgd {
    /// Makes the optimiser of `params`.
    ///
    /// A convolution's weight is as [`layout::Rows`](super::layout::Rows) says, like its gradient:
    /// its padding stays 0.
    ///
    /// # Errors
    /// [`KernelError`] if lengths differ, there is no rate, there is a velocity where there should
    /// be none or the other way round, or the norm is negative or not a number; the driver's
    /// errors.
    pub fn new<'a>(
        device: &CudaDevice,
        constants: Constants,
        params: impl IntoIterator<Item = Param<'a>>,
    ) -> Result<Sgd> {
        let fail = |rule, got| Err(KernelError::Dims { op: OP, rule, got }.into());
        if let Some(norm) = constants.max_norm.filter(|norm| norm.is_nan() || *norm < 0.0) {
            return fail("the norm must be a number and not negative", norm.to_string());
        }
        let (mut rows, mut steps) = (Rows::default(), None);
        for Param { rates, weight_decay, grad, param, velocity, copy } in params {
            if rates.is_empty() {
                return fail("there must be a learning rate", "none".to_owned());
            }
            check_len(OP, "rates", *steps.get_or_insert(rates.len()), rates.len())?;
            if velocity.is_some() == (constants.momentum == 0.0) {
                let got = format!("momentum {}", constants.momentum);
                return fail("there must be a velocity if and only if there is momentum", got);
            }
            let (len, velocity, copy) = (param.len(), velocity.as_deref(), copy.as_deref());
            check_len(OP, "grad", len, grad.len())?;
            check_len(OP, "velocity", len, velocity.map_or(len, CudaBuffer::len))?;
            check_len(OP, "copy", len, copy.map_or(len, CudaBuffer::len))?;
            let row = Row {
                rates: address(Some(rates)),
                grad: address(Some(grad)),
                param: address(Some(param)),
                velocity: address(velocity),
                copy: address(copy),
                weight_decay,
                len: int(OP, "length", len)?,
            };
            let memories = [rates.memory(), grad.memory(), param.memory()].into_iter();
            let memories = memories.chain(velocity.map(CudaBuffer::memory));
            rows.push(OP, len, row, memories.chain(copy.map(CudaBuffer::memory)))?;
        }
        let table = rows.upload(device)?;
        let clip = |max_norm| -> Result<Clip> {
            let squares = CudaBuffer::zeros(device, table.blocks() as usize)?;
            Ok(Clip { max_norm, squares, factor: CudaBuffer::zeros(device, 1)? })
        };
        let clip = constants.max_norm.map(clip).transpose()?;
        let Constants { momentum, dampening, nesterov, .. } = constants;
        let steps = int(OP, "steps", steps.unwrap_or(1))?;
        let constants = Raw { momentum, dampening, nesterov: i32::from(nesterov), steps };
        Ok(Sgd { table, constants, clip })
    }

    /// Makes one step with the learning rates of `clock`'s step: with
    /// `g = grad + weight_decay·param`, `v = momentum·v + (1 - dampening)·g` (at step 0 `v = g`,
    /// whatever v holds) and `param -= lr·v`, or `lr·(g + momentum·v)` with Nesterov. Without
    /// momentum `param -= lr·g`.
    ///
    /// With a `max_norm` the gradients count `min(1, max_norm / (norm + 1e-6))` times, where `norm`
    /// is the norm of all of them together, summed in double precision and in a fixed order; a
    /// gradient that is not finite shows in the parameters. A step may be part of a graph.
    ///
    /// # Errors
    /// [`CudaError::Driver`](super::CudaError::Driver) if the driver fails.
    pub fn step(&mut self, clock: &Clock) -> Result<()> {
        let Sgd { table, constants, clip } = self;
        let blocks = table.blocks();
        let Table { rows, parts, memories } = &*table;
        let device = &parts.device().clone();
        if let Some(Clip { max_norm, squares, factor }) = clip.as_mut().filter(|_| blocks > 0) {
            let launch = Launch::new(device, &SQUARES)?
                .read(parts)
                .read(rows)
                .write(&mut *squares)
                .uses_all(memories);
            // SAFETY: the parameters of sgd_squares; the parts are inside the arrays of the rows,
            // and there is a square for each.
            unsafe { launch.run([blocks, 1, 1], THREADS, SUM_BYTES)? };
            let count = blocks.cast_signed();
            let launch = Launch::new(device, &CLIP)?
                .read(squares)
                .write(factor)
                .value(max_norm)
                .value(&count);
            // SAFETY: the parameters of sgd_clip, and the lengths.
            unsafe { launch.run([1, 1, 1], THREADS, SUM_BYTES)? };
        }
        let launch = Launch::new(device, &STEP)?
            .read(&clock.state)
            .read(parts)
            .read(rows)
            .read_if(clip.as_ref().map(|clip| &clip.factor))
            .value(&*constants)
            .uses_all(memories);
        // SAFETY: the parameters of sgd_step; the parts are inside the arrays of the rows, whose
        // lengths are checked.
        unsafe { launch.run([blocks, 1, 1], THREADS, 0) }
    }
}

/// Mirrors `Row` of sgd.cu.
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Row {
    rates: u64,
    grad: u64,
    param: u64,
    velocity: u64,
    copy: u64,
    weight_decay: f32,
    len: i32,
}

/// Mirrors `Constants` of sgd.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Raw {
    momentum: f32,
    dampening: f32,
    nesterov: i32,
    steps: i32,
}
