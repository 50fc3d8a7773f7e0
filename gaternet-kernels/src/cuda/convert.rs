//! Conversion on the device: between f32 and bf16, and between (N, C, H, W) and dense activations.

use half::bf16;

use super::buffer::{CudaBuffer, CudaElement};
use super::error::Result;
use super::launch::{Kernel, Launch, grid_yz, int};
use super::layout::stride;
use super::planes::{Activation, ForBoth, Planes, for_both};
use super::source::{Source, source};
use crate::dims::PlaneDims;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("convert.cu", ["plane.cuh", "dev.cuh"]);
static PACK: ForBoth = for_both!(&SOURCE, "convert_pack");
static UNPACK: ForBoth = for_both!(&SOURCE, "convert_unpack");
static TO_BF16: Kernel = Kernel { source: &SOURCE, name: "convert_to_bf16" };
static TO_F32: Kernel = Kernel { source: &SOURCE, name: "convert_to_f32" };

const THREADS: u32 = 256;
/// The side of a tile that convert.cu transposes, and the bytes of its shared memory.
const TILE: usize = 32;
const TILE_BYTES: u32 = 32 * 33 * 4;

/// Writes `values` (N, C, P) to `dense` (N, P, stride(C)), whose padding gets 0.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`; the driver's errors.
pub fn pack<T: Activation>(
    dims: PlaneDims,
    values: &CudaBuffer<f32>,
    dense: &mut CudaBuffer<T>,
) -> Result<()> {
    let (planes, grid) = transposition("pack", dims, values.len(), dense.len())?;
    let device = &dense.device().clone();
    let launch = Launch::new(device, PACK.of::<T>())?.read(values).write(dense).value(&planes);
    // SAFETY: the parameters of convert_pack; lengths and grid fit the dims.
    unsafe { launch.run(grid, THREADS, TILE_BYTES) }
}

/// Writes `dense` (N, P, stride(C)) to `values` (N, C, P).
///
/// # Errors
/// Fails as [`pack`] does.
pub fn unpack<T: Activation>(
    dims: PlaneDims,
    dense: &CudaBuffer<T>,
    values: &mut CudaBuffer<f32>,
) -> Result<()> {
    let (planes, grid) = transposition("unpack", dims, values.len(), dense.len())?;
    let device = &values.device().clone();
    let launch = Launch::new(device, UNPACK.of::<T>())?.read(dense).write(values).value(&planes);
    // SAFETY: the parameters of convert_unpack; lengths and grid fit the dims.
    unsafe { launch.run(grid, THREADS, TILE_BYTES) }
}

/// Rounds each value to the nearest bf16, ties to even.
///
/// # Errors
/// [`KernelError`] if the lengths differ; the driver's errors.
pub fn to_bf16(from: &CudaBuffer<f32>, to: &mut CudaBuffer<bf16>) -> Result<()> {
    each(&TO_BF16, from, to)
}

/// Converts each value to f32, exactly.
///
/// # Errors
/// Fails as [`to_bf16`] does.
pub fn to_f32(from: &CudaBuffer<bf16>, to: &mut CudaBuffer<f32>) -> Result<()> {
    each(&TO_F32, from, to)
}

fn each<T: CudaElement, U: CudaElement>(
    kernel: &Kernel,
    from: &CudaBuffer<T>,
    to: &mut CudaBuffer<U>,
) -> Result<()> {
    check_len(kernel.name, "to", from.len(), to.len())?;
    let length = int(kernel.name, "length", from.len())?;
    let device = &to.device().clone();
    let launch = Launch::new(device, kernel)?.read(from).write(to).value(&length);
    // SAFETY: the parameters of convert_to_bf16 and convert_to_f32, which the callers choose by the
    // types.
    unsafe { launch.run([length.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}

fn transposition(
    op: &'static str,
    dims: PlaneDims,
    values: usize,
    dense: usize,
) -> Result<(Planes, [u32; 3]), KernelError> {
    let planes = Planes::new(op, dims)?;
    check_len(op, "values", dims.len(), values)?;
    planes.check(op, "dense", dense)?;
    let grid = [
        dims.plane.div_ceil(TILE) as u32,
        grid_yz(op, "groups of 32 channels", stride(dims.channels).div_ceil(TILE))?,
        grid_yz(op, "samples", dims.batch)?,
    ];
    Ok((planes, grid))
}
