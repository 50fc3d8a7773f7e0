//! Gates where no batch normalisation has them: `y = relu(gate·x + residual)` of activations (N, P,
//! stride(C)), also between dense and compact ones; see [`layout`](super::layout). Where a gate is
//! 0, `gate·x` is exactly 0.

use bytemuck::NoUninit;

use super::active_filters::{CudaActiveFilters, check_gates};
use super::buffer::CudaBuffer;
use super::conv2d::GateColumns;
use super::error::Result;
use super::launch::{Launch, int};
use super::planes::{Activation, ForBoth, Planes, SUM_BYTES, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::PlaneDims;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("gate.cu", ["plane.cuh", "dev.cuh"]);
static FORWARD: ForBoth = for_both!(&SOURCE, "gate_forward");
static BACKWARD: ForBoth = for_both!(&SOURCE, "gate_backward");

/// The activation that is compact, with its lists of active channels.
#[derive(Debug, Clone, Copy, Default)]
pub enum Compact<'a> {
    /// Both activations are dense.
    #[default]
    Nothing,
    /// The activation that is read, x, is compact.
    Source(&'a CudaActiveFilters),
    /// The activation that is written, y or the gradient of x, is compact.
    Target(&'a CudaActiveFilters),
}

impl Compact<'_> {
    fn active(&self) -> Option<&CudaActiveFilters> {
        match self {
            Compact::Nothing => None,
            Compact::Source(active) | Compact::Target(active) => Some(active),
        }
    }
}

/// The operations on x; by default none.
#[derive(Debug)]
pub struct Apply<'a, T> {
    /// A factor for each channel; 1 if absent.
    pub gates: Option<GateColumns<'a>>,
    /// A dense activation that is added, (N, P, stride(C)); 0 if absent. Then y is dense too.
    pub residual: Option<&'a CudaBuffer<T>>,
    /// Whether a ReLU comes last. NaN passes through it.
    pub relu: bool,
}

impl<T> Clone for Apply<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Apply<'_, T> {}

impl<T> Default for Apply<'_, T> {
    fn default() -> Self {
        Apply { gates: None, residual: None, relu: false }
    }
}

/// The buffers that gradients go to; each is overwritten.
#[derive(Debug)]
pub struct Grads<'a, T> {
    /// The gradient of x, (N, P, stride(C)).
    pub x: Option<&'a mut CudaBuffer<T>>,
    /// The gradient of the gates, in rows (N, stride) like theirs, of which the columns of the
    /// gates are written: `Σ grad·x` over the plane, also where a gate is 0.
    pub gates: Option<&'a mut CudaBuffer<f32>>,
    /// The gradient of the residual, (N, P, stride(C)).
    pub residual: Option<&'a mut CudaBuffer<T>>,
}

/// Mirrors `Options` of gate.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Options {
    relu: i32,
    gate_stride: i32,
    gate_first: i32,
    compact: i32,
}

/// Computes y (N, P, stride(C)) of x (N, P, stride(C)).
///
/// # Errors
/// [`KernelError`] if a buffer or the lists do not fit `dims`, or there is a residual for a compact
/// y; the driver's errors.
pub fn forward<T: Activation>(
    dims: PlaneDims,
    compact: Compact<'_>,
    apply: Apply<'_, T>,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "gate_forward";
    let (planes, options) = check(OP, dims, compact, &apply)?;
    let residual = ("residual", apply.residual.map(CudaBuffer::len));
    check_whole(OP, planes, &[("x", Some(x.len())), ("y", Some(y.len())), residual])?;
    if apply.residual.is_some() && matches!(compact, Compact::Target(_)) {
        let rule = "a compact result has no residual";
        return Err(KernelError::Dims { op: OP, rule, got: format!("{dims:?}") }.into());
    }
    let device = &y.device().clone();
    let launch = Launch::new(device, FORWARD.of::<T>())?
        .read(x)
        .read_if(apply.gates.map(|columns| columns.gates))
        .read_if(compact.active().map(|active| &active.indices))
        .read_if(compact.active().map(|active| &active.counts))
        .read_if(apply.residual)
        .write(y)
        .value(&planes)
        .value(&options);
    // SAFETY: the parameters of gate_forward; lengths and grid fit the dims, the columns of the
    // gates a row, and lists hold at most C channels below C.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}

/// Computes the gradients of [`forward`] for a dense x from `grad_y` (N, P, stride(C)) of a dense
/// y. With [`Compact::Target`] the gradient of x is compact. The values of `apply.residual` are not
/// read, and those of `y` only with a ReLU.
///
/// # Errors
/// [`KernelError`] if a buffer or the lists do not fit `dims`, x is said to be compact, or the
/// gradient of gates is asked for that are not there; the driver's errors.
pub fn backward<T: Activation>(
    dims: PlaneDims,
    compact: Compact<'_>,
    apply: Apply<'_, T>,
    [x, y, grad_y]: [&CudaBuffer<T>; 3],
    grads: Grads<'_, T>,
) -> Result<()> {
    const OP: &str = "gate_backward";
    let (planes, options) = check(OP, dims, compact, &apply)?;
    let lengths = [
        ("x", Some(x.len())),
        ("y", Some(y.len())),
        ("grad_y", Some(grad_y.len())),
        ("grads.x", grads.x.as_ref().map(|grad| grad.len())),
        ("grads.residual", grads.residual.as_ref().map(|grad| grad.len())),
    ];
    check_whole(OP, planes, &lengths)?;
    let fail = |rule| Err(KernelError::Dims { op: OP, rule, got: format!("{dims:?}") }.into());
    if matches!(compact, Compact::Source(_)) {
        return fail("x must be dense");
    }
    let gates = apply.gates.map(|columns| columns.gates);
    match (&grads.gates, gates) {
        (Some(grad), Some(gates)) => check_len(OP, "grads.gates", gates.len(), grad.len())?,
        (Some(_), None) => return fail("a gradient of gates needs gates"),
        (None, _) => {}
    }
    let device = &grad_y.device().clone();
    let Grads { x: grad_x, gates: grad_gates, residual: grad_residual } = grads;
    let launch = Launch::new(device, BACKWARD.of::<T>())?
        .read(x)
        .read_if(apply.relu.then_some(y))
        .read(grad_y)
        .read_if(gates)
        .read_if(compact.active().map(|active| &active.indices))
        .read_if(compact.active().map(|active| &active.counts))
        .write_if(grad_x)
        .write_if(grad_gates)
        .write_if(grad_residual)
        .value(&planes)
        .value(&options);
    // SAFETY: the parameters of gate_backward; as above.
    unsafe { launch.run(planes.grid(OP)?, THREADS, SUM_BYTES) }
}

fn check<T>(
    op: &'static str,
    dims: PlaneDims,
    compact: Compact<'_>,
    apply: &Apply<'_, T>,
) -> Result<(Planes, Options), KernelError> {
    let mut options = Options {
        relu: i32::from(apply.relu),
        gate_stride: 0,
        gate_first: 0,
        compact: match compact {
            Compact::Nothing => 0,
            Compact::Source(_) => 1,
            Compact::Target(_) => 2,
        },
    };
    if let Some(active) = compact.active() {
        active.check(op, dims.batch, dims.channels)?;
    }
    if let Some(GateColumns { gates, stride, first }) = apply.gates {
        check_gates(op, gates, stride, first, dims.batch, dims.channels)?;
        options.gate_stride = int(op, "gate stride", stride)?;
        options.gate_first = int(op, "first gate", first)?;
    }
    Ok((Planes::new(op, dims)?, options))
}

fn check_whole(
    op: &'static str,
    planes: Planes,
    buffers: &[(&'static str, Option<usize>)],
) -> Result<(), KernelError> {
    buffers
        .iter()
        .try_for_each(|&(name, got)| got.map_or(Ok(()), |got| planes.check(op, name, got)))
}
