//! Gates that are open because their pre-activations are the largest of their slot: top-k, and
//! floors.

use super::buffer::CudaBuffer;
use super::error::Result;
use super::gate_slots::GateSlots;
use super::launch::{Kernel, Launch, grid_yz, int};
use super::source::{Source, source};
use crate::error::check_len;

pub(super) static SOURCE: Source = source!("gate_largest.cu", ["dev.cuh"]);
static LARGEST: Kernel = Kernel { source: &SOURCE, name: "gate_largest" };
const THREADS: u32 = 128;

/// The gates of top-k: 1 for the largest pre-activations (N, C) of each slot of each sample, as
/// many as the slot says, the first of equals; 0 for the others, NaN for NaN.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths are not those of the slots; the driver's
/// errors.
pub fn top_k(
    slots: &GateSlots,
    preactivation: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    run("top_k", true, slots, preactivation, gates)
}

/// Opens the gates of the largest pre-activations (N, C) of each slot, as many as the slot says,
/// the first of equals. The others stay what they are, and so does a gate that is NaN. Its gradient
/// is the identity.
///
/// # Errors
/// As [`top_k`].
pub fn floor(
    slots: &GateSlots,
    preactivation: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    run("gate_floor", false, slots, preactivation, gates)
}

fn run(
    op: &'static str,
    others_close: bool,
    slots: &GateSlots,
    preactivation: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    let batch = grid_yz(op, "batch", slots.batch(op, gates)?)?;
    check_len(op, "preactivation", gates.len(), preactivation.len())?;
    let (columns, close) = (int(op, "columns", slots.columns())?, i32::from(others_close));
    let device = &gates.device().clone();
    let launch = Launch::new(device, &LARGEST)?
        .read(preactivation)
        .read(&slots.table)
        .write(gates)
        .value(&columns)
        .value(&close);
    // SAFETY: the parameters of gate_largest; both arrays have a row of the slots' columns for each
    // sample.
    unsafe { launch.run([slots.slots() as u32, batch, 1], THREADS, 0) }
}
