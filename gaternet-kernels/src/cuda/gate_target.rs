//! A penalty on the distance of the work that gates execute from a target, with bounds for parts of
//! a network.

use bytemuck::NoUninit;

use super::buffer::CudaBuffer;
use super::clock::PerStep;
use super::device::CudaDevice;
use super::error::Result;
use super::gate_loss::Loss;
use super::gated_layers::GatedLayers;
use super::launch::{Kernel, Launch, grid_yz, int};
use super::source::{Source, source};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("gate_target.cu", ["random.cuh", "dev.cuh"]);
static FRACTIONS: Kernel = Kernel { source: &SOURCE, name: "gate_fractions" };
static TARGET: Kernel = Kernel { source: &SOURCE, name: "gate_target" };
static GRADIENT: Kernel = Kernel { source: &SOURCE, name: "gate_fraction_gradient" };
const OP: &str = "gate_target";
const THREADS: u32 = 256;
/// Each convolution has two floats in the shared memory that every device has.
const MAX_CONVS: usize = 48 * 1024 / 8;

/// A convolution whose work depends on gates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvWork {
    /// Its work with all gates open, as a fraction of the work of the network without gates;
    /// positive.
    pub work: f32,
    /// The gated layer that its filters belong to; `None` if all filters are computed.
    pub filters: Option<usize>,
    /// The gated layer that its input channels belong to; `None` if all channels are read.
    pub channels: Option<usize>,
}

/// The work that a target counts, and the target.
#[derive(Debug)]
pub struct GateTarget {
    /// The work that does not depend on gates, and the target, both as fractions of the network
    /// without gates; `None` if there are bounds only.
    total: Option<[f32; 2]>,
    /// The work of each convolution, (K).
    work: CudaBuffer<f32>,
    /// (K, 3): the block of each convolution, and the gated layers of its filters and channels.
    convs: CudaBuffer<i32>,
    blocks: usize,
    layers: usize,
}

impl GateTarget {
    /// Makes the target of a network of `layers` gated layers, whose gated convolutions are listed
    /// block by block. `total` is the work that does not depend on gates and the target for all
    /// work, both as fractions of the network without gates.
    ///
    /// # Errors
    /// [`KernelError::Dims`] if there is no block, a block is empty or without work, or a layer
    /// does not exist; the driver's errors.
    pub fn new(
        device: &CudaDevice,
        blocks: &[Vec<ConvWork>],
        layers: usize,
        total: Option<[f32; 2]>,
    ) -> Result<GateTarget> {
        let all = || blocks.iter().flatten();
        let in_layers = |conv: &ConvWork| {
            [conv.filters, conv.channels].into_iter().flatten().all(|layer| layer < layers)
        };
        let works = |block: &Vec<ConvWork>| block.iter().map(|conv| conv.work).sum::<f32>() > 0.0;
        let few = all().count() <= MAX_CONVS;
        if blocks.is_empty() || !blocks.iter().all(works) || !all().all(in_layers) || !few {
            let rule = "there must be blocks, each with work, of layers that are there, and not too many convolutions";
            let got = format!("{blocks:?} of {layers} layers");
            return Err(KernelError::Dims { op: OP, rule, got }.into());
        }
        let work: Vec<f32> = all().map(|conv| conv.work).collect();
        // Layers and blocks are fewer than convolutions twice, which are few.
        let place = |layer: Option<usize>| layer.map_or(-1, |layer| layer as i32);
        let row = |block: usize, conv: &ConvWork| {
            [block as i32, place(conv.filters), place(conv.channels)]
        };
        let convs: Vec<i32> = blocks
            .iter()
            .enumerate()
            .flat_map(|(at, block)| block.iter().flat_map(move |conv| row(at, conv)))
            .collect();
        Ok(GateTarget {
            total,
            work: CudaBuffer::from_slice(device, &work)?,
            convs: CudaBuffer::from_slice(device, &convs)?,
            blocks: blocks.len(),
            layers,
        })
    }
}

/// Returns how many values of scratch [`forward_backward`] needs for `batch` samples and `layers`
/// gated layers.
#[must_use]
pub fn scratch_len(batch: usize, layers: usize) -> usize {
    2 * batch * layers
}

/// Computes the penalty of gates (N, C), and adds its gradient times its weight to `loss.grad`:
///
/// ```text
/// d(ratio - target) + mean over blocks of max(0, fraction - upper)² + max(0, lower - fraction)²
/// d(x) = |x| - r/2 where |x| > r, else x² / 2r;    r = 0.02 · target
/// ```
///
/// `ratio` is the work that does not depend on gates plus the work that is executed: the sum over
/// convolutions of their work times the mean over samples of the fraction of active filters times
/// the fraction of active channels. `fraction` is the executed work of a block over its whole work.
/// Without a total there is no first term.
///
/// Each step has a row (weight, lower, upper) in `schedule`; at a step of weight 0 the loss does
/// not count, whatever it is. The scratch has at least [`scratch_len`] values.
///
/// # Errors
/// [`KernelError`] if a length does not fit the layers; the driver's errors.
pub fn forward_backward(
    target: &GateTarget,
    layers: &GatedLayers,
    gates: &CudaBuffer<f32>,
    schedule: PerStep<'_>,
    loss: &mut Loss<'_>,
) -> Result<()> {
    let Loss { grad: grad_gates, result, totals, scratch } = loss;
    let samples = layers.batch(OP, gates)?;
    let needed = scratch_len(samples, layers.layers());
    check_len(OP, "layers", target.layers, layers.layers())?;
    check_len(OP, "grad_gates", gates.len(), grad_gates.len())?;
    check_len(OP, "result", 1, result.len())?;
    check_len(OP, "totals", 1, totals.len().min(1))?;
    check_len(OP, "scratch", needed, scratch.len().min(needed))?;
    let grid = [layers.layers() as u32, grid_yz(OP, "batch", samples)?, 1];
    let steps = schedule.steps(OP, 3)?;
    let [columns, batch] = [int(OP, "columns", layers.columns())?, int(OP, "batch", samples)?];
    let (layer_count, convs) = (int(OP, "layers", target.layers)?, target.work.len() as i32);
    let [always, of_all] = target.total.unwrap_or_default();
    let raw = Raw {
        always,
        target: of_all,
        pulls: i32::from(target.total.is_some()),
        convs,
        blocks: int(OP, "blocks", target.blocks)?,
        layers: layer_count,
        batch,
        steps,
    };
    let device = &result.device().clone();
    let launch = Launch::new(device, &FRACTIONS)?
        .read(gates)
        .read(&layers.table)
        .write(scratch)
        .value(&columns)
        .value(&batch);
    // SAFETY: the parameters of gate_fractions; a warp has a layer of a sample, and writes the
    // first half of the scratch.
    unsafe { launch.run(grid, 32, 0)? };
    let launch = Launch::new(device, &TARGET)?
        .read(&target.work)
        .read(&target.convs)
        .read(schedule.values)
        .read(&schedule.clock.state)
        .write(scratch)
        .write(result)
        .write(totals)
        .value(&raw);
    // SAFETY: the parameters of gate_target; the convolutions name layers that there are, and there
    // are two floats of shared memory for each.
    unsafe { launch.run([1, 1, 1], THREADS, 8 * convs.cast_unsigned())? };
    let launch = Launch::new(device, &GRADIENT)?
        .read(&layers.table)
        .read(scratch)
        .write(grad_gates)
        .value(&columns)
        .value(&batch)
        .value(&layer_count);
    // SAFETY: the parameters of gate_fraction_gradient, which reads what was just written.
    unsafe { launch.run(grid, 32, 0) }
}

/// Mirrors `Target` of gate_target.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Raw {
    always: f32,
    target: f32,
    pulls: i32,
    convs: i32,
    blocks: i32,
    layers: i32,
    batch: i32,
    steps: i32,
}
