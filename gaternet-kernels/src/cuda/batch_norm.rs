//! Batch normalisation of dense activations, fused with what follows it in a block:
//! `z = weight·(x - mean)/sqrt(var + eps) + bias`, `a = gate·z`, `y = relu(a + residual)`.
//!
//! x, y, residual and their gradients are (N, P, stride(C)); see [`layout`](super::layout). Where a
//! gate is 0, `a` is exactly 0.

use bytemuck::NoUninit;

use super::active_filters::check_gates;
use super::buffer::CudaBuffer;
use super::conv2d::GateColumns;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::planes::{Activation, ForBoth, Planes, SUM_BYTES, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::PlaneDims;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("batch_norm.cu", ["plane.cuh", "dev.cuh"]);
static MOMENTS: ForBoth = for_both!(&SOURCE, "batch_norm_moments");
static NORMALISE: ForBoth = for_both!(&SOURCE, "batch_norm_normalise");
static BACKWARD_SUMS: ForBoth = for_both!(&SOURCE, "batch_norm_backward_sums");
static BACKWARD_INPUT: ForBoth = for_both!(&SOURCE, "batch_norm_backward_input");
static MERGE: Kernel = Kernel { source: &SOURCE, name: "batch_norm_merge" };
static BACKWARD_MERGE: Kernel = Kernel { source: &SOURCE, name: "batch_norm_backward_merge" };

/// The channels of a block of a merge, the bytes of its shared memory and its threads.
const MERGE_CHANNELS: u32 = 32;
const MERGE_BYTES: u32 = MERGE_THREADS * 4;
const MERGE_THREADS: u32 = 256;

/// The learned part of a batch normalisation, with the constant of its root.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// The factor of each channel, (C).
    pub weight: &'a CudaBuffer<f32>,
    /// The term of each channel, (C).
    pub bias: &'a CudaBuffer<f32>,
    /// The constant that is added to the variance.
    pub eps: f32,
}

/// The epilogue of a batch normalisation, which follows in the same pass over memory:
/// `relu(gate·z + residual)`. By default it does nothing.
#[derive(Debug)]
#[non_exhaustive]
pub struct Epilogue<'a, T> {
    /// A factor for each plane; 1 if absent.
    pub gates: Option<GateColumns<'a>>,
    /// (N, P, stride(C)), added after the gates; 0 if absent.
    pub residual: Option<&'a CudaBuffer<T>>,
    /// Whether a ReLU comes last. NaN passes through it.
    pub relu: bool,
}

impl<'a, T> Epilogue<'a, T> {
    /// The same epilogue with these gates, a factor for each plane.
    #[must_use]
    pub fn with_gates(self, gates: Option<GateColumns<'a>>) -> Epilogue<'a, T> {
        Epilogue { gates, ..self }
    }

    /// The same epilogue with this residual, (N, P, stride(C)).
    #[must_use]
    pub fn with_residual(self, residual: Option<&'a CudaBuffer<T>>) -> Epilogue<'a, T> {
        Epilogue { residual, ..self }
    }

    /// The same epilogue, with or without a ReLU at the end.
    #[must_use]
    pub fn with_relu(self, relu: bool) -> Epilogue<'a, T> {
        Epilogue { relu, ..self }
    }
}

impl<T> Clone for Epilogue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Epilogue<'_, T> {}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Epilogue { gates: None, residual: None, relu: false }
    }
}

/// The mean and biased variance of each channel, which x is normalised with.
#[derive(Debug, Clone, Copy)]
pub struct Stats<'a> {
    /// The mean of each channel, (C).
    pub mean: &'a CudaBuffer<f32>,
    /// The biased variance of each channel, (C).
    pub var: &'a CudaBuffer<f32>,
}

/// The buffers that the statistics of a training batch go to.
#[derive(Debug)]
pub struct BatchStats<'a> {
    /// The mean of each channel over the batch, (C).
    pub mean: &'a mut CudaBuffer<f32>,
    /// The biased variance of each channel over the batch, (C).
    pub var: &'a mut CudaBuffer<f32>,
    /// Scratch of at least [`scratch_len`] values.
    pub scratch: &'a mut CudaBuffer<f32>,
    /// The running statistics, which move towards those of the batch.
    pub running: Option<Running<'a>>,
}

/// Running statistics, updated as `torch.nn.BatchNorm2d` does:
/// `running = (1 - momentum)·running + momentum·batch`, with the unbiased variance of the batch.
#[derive(Debug)]
pub struct Running<'a> {
    /// The running mean of each channel, (C).
    pub mean: &'a mut CudaBuffer<f32>,
    /// The running variance of each channel, (C).
    pub var: &'a mut CudaBuffer<f32>,
    /// The fraction of the batch's statistics, 0 to 1.
    pub momentum: f32,
}

/// The buffers that the forward pass read and wrote.
#[derive(Debug)]
pub struct Saved<'a, T> {
    /// The input of the forward pass, (N, P, S).
    pub x: &'a CudaBuffer<T>,
    /// The output of the forward pass, (N, P, S), which tells where the ReLU passed its input on.
    pub y: &'a CudaBuffer<T>,
    /// The statistics that x was normalised with.
    pub stats: Stats<'a>,
    /// Whether they are the statistics of x itself, so that the gradient flows through them too.
    pub batch_stats: bool,
}

/// The buffers that gradients go to; each is overwritten.
#[derive(Debug)]
pub struct Grads<'a, T> {
    /// The gradient of x, (N, P, S).
    pub x: &'a mut CudaBuffer<T>,
    /// The gradient that x has from elsewhere, (N, P, S), which is added to that of x; 0 if absent.
    pub more: Option<&'a CudaBuffer<T>>,
    /// The gradient of the weight, (C).
    pub weight: &'a mut CudaBuffer<f32>,
    /// The gradient of the bias, (C).
    pub bias: &'a mut CudaBuffer<f32>,
    /// The gradient of the gates, in rows (N, stride) like theirs, of which the columns of the
    /// gates are written: `Σ grad_a·z` over the plane, also where a gate is 0.
    pub gates: Option<&'a mut CudaBuffer<f32>>,
    /// The gradient of the residual, (N, P, S).
    pub residual: Option<&'a mut CudaBuffer<T>>,
    /// Scratch of at least [`scratch_len`] values.
    pub scratch: &'a mut CudaBuffer<f32>,
}

/// Returns how many values of scratch a training pass needs: 2·C·(N + 1).
#[must_use]
pub fn scratch_len(dims: PlaneDims) -> usize {
    2 * dims.channels * (dims.batch + 1)
}

/// Mirrors `Options` of batch_norm.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Options {
    eps: f32,
    momentum: f32,
    relu: i32,
    batch_stats: i32,
    gate_stride: i32,
    gate_first: i32,
}

/// Computes y (N, P, S) of x (N, P, S), S = stride(C), with the statistics of this batch, which go
/// to `batch`.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`, or a channel has no value, or only one and
/// there are running statistics; the driver's errors.
pub fn forward_train<T: Activation>(
    dims: PlaneDims,
    affine: Affine<'_>,
    epilogue: Epilogue<'_, T>,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
    batch: BatchStats<'_>,
) -> Result<()> {
    const OP: &str = "batch_norm_forward_train";
    let call = Call::new(OP, dims, affine, epilogue)?;
    call.check_whole(&[("x", x.len()), ("y", y.len())])?;
    call.check_channels(&[("mean", batch.mean.len()), ("var", batch.var.len())])?;
    call.check_samples(1 + usize::from(batch.running.is_some()))?;
    call.check_scratch(batch.scratch.len())?;
    let BatchStats { mean, var, scratch, running } = batch;
    let mut options = call.options;
    let running = match running {
        Some(Running { mean, var, momentum }) => {
            call.check_channels(&[("running mean", mean.len()), ("running var", var.len())])?;
            options.momentum = momentum;
            Some((mean, var))
        }
        None => None,
    };
    let (running_mean, running_var) = running.unzip();
    let device = &y.device().clone();
    let launch = Launch::new(device, MOMENTS.of::<T>())?.read(x).write(scratch).value(&call.planes);
    // SAFETY: the parameters of batch_norm_moments; lengths and grid fit the dims.
    unsafe { launch.run(call.planes.grid(OP)?, THREADS, 2 * SUM_BYTES)? };
    let launch = Launch::new(device, &MERGE)?
        .read(scratch)
        .write(mean)
        .write(var)
        .write_if(running_mean)
        .write_if(running_var)
        .value(&call.planes)
        .value(&options);
    // SAFETY: the parameters of batch_norm_merge; all buffers are (C), the scratch has the sums
    // just written.
    unsafe { launch.run(call.merge_grid(), MERGE_THREADS, MERGE_BYTES)? };
    call.normalise(Stats { mean, var }, x, y)
}

/// Computes y (N, P, S) of x (N, P, S), S = stride(C), with given statistics.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`; the driver's errors.
pub fn forward_eval<T: Activation>(
    dims: PlaneDims,
    affine: Affine<'_>,
    epilogue: Epilogue<'_, T>,
    stats: Stats<'_>,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    let call = Call::new("batch_norm_forward_eval", dims, affine, epilogue)?;
    call.check_whole(&[("x", x.len()), ("y", y.len())])?;
    call.check_channels(&[("mean", stats.mean.len()), ("var", stats.var.len())])?;
    call.normalise(stats, x, y)
}

/// Computes the gradients of [`forward_train`] or [`forward_eval`] from `grad_y` (N, P, S). The
/// values of `epilogue.residual` are not read.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`, with `batch_stats` a channel has no value, or
/// the gradient of gates is asked for that are not there; the driver's errors.
pub fn backward<T: Activation>(
    dims: PlaneDims,
    affine: Affine<'_>,
    epilogue: Epilogue<'_, T>,
    saved: Saved<'_, T>,
    grad_y: &CudaBuffer<T>,
    grads: Grads<'_, T>,
) -> Result<()> {
    const OP: &str = "batch_norm_backward";
    let call = Call::new(OP, dims, affine, epilogue)?;
    let Saved { x, y, stats: Stats { mean, var }, batch_stats } = saved;
    call.check_whole(&[("x", x.len()), ("y", y.len()), ("grad_y", grad_y.len())])?;
    call.check_whole(&[("grads.x", grads.x.len())])?;
    call.check_channels(&[("mean", mean.len()), ("var", var.len())])?;
    let of_channels = [("grads.weight", grads.weight.len()), ("grads.bias", grads.bias.len())];
    call.check_channels(&of_channels)?;
    call.check_scratch(grads.scratch.len())?;
    if let Some(residual) = &grads.residual {
        call.check_whole(&[("grads.residual", residual.len())])?;
    }
    if let Some(more) = grads.more {
        call.check_whole(&[("grads.more", more.len())])?;
    }
    if let Some(gates) = &grads.gates {
        let Some(columns) = epilogue.gates else {
            let rule = "a gradient of gates needs gates";
            return Err(KernelError::Dims { op: OP, rule, got: "none".to_owned() }.into());
        };
        check_len(OP, "grads.gates", columns.gates.len(), gates.len())?;
    }
    if batch_stats {
        call.check_samples(1)?;
    }
    let Grads { x: grad_x, more, weight, bias, gates: grad_gates, residual, scratch } = grads;
    let mut options = call.options;
    options.batch_stats = i32::from(batch_stats);
    let columns = call.epilogue.gates.map(|columns| columns.gates);
    let y = call.epilogue.relu.then_some(y);
    let device = &grad_x.device().clone();
    let launch = Launch::new(device, BACKWARD_SUMS.of::<T>())?
        .read(x)
        .read_if(y)
        .read(grad_y)
        .read(affine.weight)
        .read(affine.bias)
        .read(mean)
        .read(var)
        .write(scratch)
        .write_if(grad_gates)
        .value(&call.planes)
        .value(&options);
    // SAFETY: the parameters of batch_norm_backward_sums; lengths and grid fit the dims, the
    // columns fit in a row.
    unsafe { launch.run(call.planes.grid(OP)?, THREADS, 2 * SUM_BYTES)? };
    let launch = Launch::new(device, &BACKWARD_MERGE)?
        .write(scratch)
        .read(affine.weight)
        .read(var)
        .read_if(columns)
        .write(weight)
        .write(bias)
        .value(&call.planes)
        .value(&options);
    // SAFETY: the parameters of batch_norm_backward_merge; the scratch has the sums just written
    // and room for more.
    unsafe { launch.run(call.merge_grid(), MERGE_THREADS, MERGE_BYTES)? };
    let launch = Launch::new(device, BACKWARD_INPUT.of::<T>())?
        .read(x)
        .read_if(y)
        .read(grad_y)
        .read(affine.weight)
        .read(mean)
        .read(var)
        .read_if(columns)
        .read(scratch)
        .read_if(more)
        .write(grad_x)
        .write_if(residual)
        .value(&call.planes)
        .value(&options);
    // SAFETY: the parameters of batch_norm_backward_input; lengths and grid fit the dims.
    unsafe { launch.run(call.planes.grid_of_pixels(OP)?, THREADS, 0) }
}

/// The arguments that all passes have, checked.
struct Call<'a, T> {
    op: &'static str,
    dims: PlaneDims,
    planes: Planes,
    affine: Affine<'a>,
    epilogue: Epilogue<'a, T>,
    options: Options,
}

impl<'a, T: Activation> Call<'a, T> {
    fn new(
        op: &'static str,
        dims: PlaneDims,
        affine: Affine<'a>,
        epilogue: Epilogue<'a, T>,
    ) -> Result<Call<'a, T>, KernelError> {
        let mut options = Options {
            eps: affine.eps,
            momentum: 0.0,
            relu: i32::from(epilogue.relu),
            batch_stats: 0,
            gate_stride: 0,
            gate_first: 0,
        };
        if let Some(GateColumns { gates, stride, first }) = epilogue.gates {
            check_gates(op, gates, stride, first, dims.batch, dims.channels)?;
            options.gate_stride = int(op, "gate stride", stride)?;
            options.gate_first = int(op, "first gate", first)?;
        }
        let planes = Planes::new(op, dims)?;
        let call = Call { op, dims, planes, affine, epilogue, options };
        call.check_channels(&[("weight", affine.weight.len()), ("bias", affine.bias.len())])?;
        if let Some(residual) = epilogue.residual {
            call.check_whole(&[("residual", residual.len())])?;
        }
        Ok(call)
    }

    fn check_whole(&self, buffers: &[(&'static str, usize)]) -> Result<(), KernelError> {
        buffers.iter().try_for_each(|&(name, got)| self.planes.check(self.op, name, got))
    }

    fn check_channels(&self, buffers: &[(&'static str, usize)]) -> Result<(), KernelError> {
        let channels = self.dims.channels;
        buffers.iter().try_for_each(|&(name, got)| check_len(self.op, name, channels, got))
    }

    /// `Err` where a channel has fewer than `least` values to take statistics of.
    fn check_samples(&self, least: usize) -> Result<(), KernelError> {
        if self.dims.batch * self.dims.plane >= least {
            return Ok(());
        }
        let rule = "batch statistics need a value per channel, running ones two";
        Err(KernelError::Dims { op: self.op, rule, got: format!("{:?}", self.dims) })
    }

    fn check_scratch(&self, got: usize) -> Result<(), KernelError> {
        check_len(self.op, "scratch", scratch_len(self.dims), got.min(scratch_len(self.dims)))
    }

    fn merge_grid(&self) -> [u32; 3] {
        [self.planes.channels.cast_unsigned().div_ceil(MERGE_CHANNELS), 1, 1]
    }

    fn normalise(&self, stats: Stats<'_>, x: &CudaBuffer<T>, y: &mut CudaBuffer<T>) -> Result<()> {
        let device = &y.device().clone();
        let launch = Launch::new(device, NORMALISE.of::<T>())?
            .read(x)
            .read(self.affine.weight)
            .read(self.affine.bias)
            .read(stats.mean)
            .read(stats.var)
            .read_if(self.epilogue.gates.map(|columns| columns.gates))
            .read_if(self.epilogue.residual)
            .write(y)
            .value(&self.planes)
            .value(&self.options);
        // SAFETY: the parameters of batch_norm_normalise; lengths and grid fit the dims, the
        // columns of the gates a row.
        unsafe { launch.run(self.planes.grid_of_pixels(self.op)?, THREADS, 0) }
    }
}
