//! Gates that are open because their gate logits are the largest of their layer: top-k and
//! min-active.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::gated_layers::GatedLayers;
use super::launch::{Kernel, Launch, grid_yz, int};
use super::source::{Source, source};
use crate::error::check_len;

pub(super) static SOURCE: Source = source!("gate_largest.cu", ["dev.cuh"]);
static LARGEST: Kernel = Kernel { source: &SOURCE, name: "gate_largest" };
const THREADS: u32 = 128;

/// Writes the gates (N, C) of top-k: 1 for the largest gate logits (N, C) of each layer and sample,
/// as many as the layer says, the first of equals; 0 for the others, and NaN for NaN.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths are not those of the layers; the driver's
/// errors.
pub fn top_k(
    layers: &GatedLayers,
    logits: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    run("top_k", true, layers, logits, gates)
}

/// Opens the gates (N, C) of the largest gate logits (N, C) of each layer and sample, as many as
/// the layer says, the first of equals. The other gates stay what they are, and so does a gate that
/// is NaN. The gradient passes through unchanged.
///
/// # Errors
/// Fails as [`top_k`] does.
pub fn min_active(
    layers: &GatedLayers,
    logits: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    run("min_active", false, layers, logits, gates)
}

fn run(
    op: &'static str,
    others_close: bool,
    layers: &GatedLayers,
    logits: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    let batch = grid_yz(op, "batch", layers.batch(op, gates)?)?;
    check_len(op, "logits", gates.len(), logits.len())?;
    let (columns, close) = (int(op, "columns", layers.columns())?, i32::from(others_close));
    let device = &gates.device().clone();
    let launch = Launch::new(device, &LARGEST)?
        .read(logits)
        .read(&layers.table)
        .write(gates)
        .value(&columns)
        .value(&close);
    // SAFETY: the parameters of gate_largest; both arrays have a row of the layers' columns for
    // each sample.
    unsafe { launch.run([layers.layers() as u32, batch, 1], THREADS, 0) }
}
