//! The gradient of a convolution with respect to its weight.

use super::super::active_filters::CudaActiveFilters;
use super::super::buffer::CudaBuffer;
use super::super::device::CudaDevice;
use super::super::error::Result;
use super::super::launch::{Kernel, Launch, grid_yz, int};
use super::super::layout::{Rows, stride};
use super::element::{ConvElement, WeightGradKind};
use super::geometry::{Direction, Geometry};
use crate::dims::Conv2dDims;
use crate::error::check_len;

const OP: &str = "conv2d_backward_weight";

/// The (tap, column) pairs of a block of conv2d_weight_grad.cu, and bytes of shared memory that
/// suffice for both tiles.
const TILE_FLAT: usize = 128;
const SHARED_BYTES: u32 = 48 << 10;
/// The most bytes of partial sums.
const MAX_SCRATCH_BYTES: usize = 64 << 20;

/// Computes the gradient of the weight in [`Rows`], (R, KH, KW, S), in f32, which replaces what is
/// there. The padding of its columns gets 0.
///
/// With [`Rows::Filters`] `grad_output` is compact by `active` and `input` dense. With
/// [`Rows::Channels`] `input` is compact by `active` and `grad_output` dense. Without `active` both
/// are dense. `scratch` is at least as long as [`backward_weight_scratch_len`] says.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a buffer or the lists do not fit `dims`; the driver's
/// errors.
pub fn backward_weight<T: ConvElement>(
    dims: &Conv2dDims,
    rows: Rows,
    active: Option<&CudaActiveFilters>,
    input: &CudaBuffer<T>,
    grad_output: &CudaBuffer<T>,
    scratch: &mut CudaBuffer<f32>,
    grad_weight: &mut CudaBuffer<f32>,
) -> Result<()> {
    let geometry = Geometry::new(OP, Direction::to_rows(rows), dims, rows)?;
    let input_len = dims.batch() * dims.in_plane() * stride(dims.in_channels());
    let output_len = dims.batch() * dims.out_plane() * stride(dims.out_channels());
    check_len(OP, "input", input_len, input.len())?;
    check_len(OP, "grad_output", output_len, grad_output.len())?;
    check_len(OP, "grad_weight", rows.weight_len(dims), grad_weight.len())?;
    if let Some(active) = active {
        active.check(OP, dims.batch(), rows.count(dims))?;
    }
    let needed = backward_weight_scratch_len(grad_weight.device(), dims, rows);
    if scratch.len() < needed {
        check_len(OP, "scratch", needed, scratch.len())?;
    }
    if grad_weight.is_empty() {
        return Ok(());
    }
    if input.is_empty() || grad_output.is_empty() {
        return grad_weight.fill_zeros();
    }
    let (target, source) = match rows {
        Rows::Filters => (grad_output, input),
        Rows::Channels => (input, grad_output),
    };
    let call = WeightGrad {
        geometry,
        batch: int(OP, "batch", dims.batch())?,
        splits: splits(grad_weight.device(), dims, rows),
        active,
        target,
        source,
        scratch,
        gradient: grad_weight,
    };
    match &T::WEIGHT_GRAD.0 {
        WeightGradKind::TensorCores { tiles_of_64, tiles_of_128, sum_splits } => {
            call.run_in_tiles(tiles_of_64, tiles_of_128, sum_splits)
        }
        WeightGradKind::Plain(kernel) => call.run_plain(kernel),
    }
}

/// Returns how many values of scratch [`backward_weight`] needs on `device`.
#[must_use]
pub fn backward_weight_scratch_len(device: &CudaDevice, dims: &Conv2dDims, rows: Rows) -> usize {
    match splits(device, dims, rows) {
        1 => 0,
        splits => splits * rows.weight_len(dims),
    }
}

/// Returns the number of parts in which the samples are summed: enough for four blocks per
/// multiprocessor.
fn splits(device: &CudaDevice, dims: &Conv2dDims, rows: Rows) -> usize {
    let weight_len = rows.weight_len(dims).max(1);
    let blocks = (dims.taps() * stride(rows.columns(dims))).div_ceil(TILE_FLAT)
        * rows.count(dims).div_ceil(128).max(1);
    let wanted = (4 * device.multiprocessors()).div_ceil(blocks.max(1));
    wanted.min(MAX_SCRATCH_BYTES / 4 / weight_len).min(dims.batch()).clamp(1, 65535)
}

/// A checked call.
struct WeightGrad<'a, T> {
    geometry: Geometry,
    batch: i32,
    splits: usize,
    active: Option<&'a CudaActiveFilters>,
    /// The activation on the side of the rows.
    target: &'a CudaBuffer<T>,
    /// The activation on the other side.
    source: &'a CudaBuffer<T>,
    scratch: &'a mut CudaBuffer<f32>,
    gradient: &'a mut CudaBuffer<f32>,
}

impl<T> WeightGrad<'_, T> {
    /// Returns the number of (tap, column) pairs.
    fn flat(&self) -> usize {
        self.gradient.len() / self.geometry.rows as usize
    }

    /// Launches one of the three kernels, which have the same arguments.
    fn launch(&mut self, kernel: &Kernel, grid: [u32; 3], threads: u32, shared: u32) -> Result<()> {
        let device = &self.gradient.device().clone();
        let sums = if self.splits == 1 { &mut *self.gradient } else { &mut *self.scratch };
        let launch = Launch::new(device, kernel)?
            .read(self.target)
            .read(self.source)
            .read_if(self.active.map(|active| &active.indices))
            .read_if(self.active.map(|active| &active.counts))
            .write(sums)
            .value(&self.geometry)
            .value(&self.batch);
        // SAFETY: the parameters of the kernels that gradients of weights have. `backward_weight`
        // has checked all lengths; the lists hold at most `rows` numbers below `rows`.
        unsafe { launch.run(grid, threads, shared) }
    }

    fn run_in_tiles(
        mut self,
        tiles_of_64: &Kernel,
        tiles_of_128: &Kernel,
        sum_splits: &Kernel,
    ) -> Result<()> {
        let rows = self.geometry.rows as usize;
        let (kernel, tile) = if rows <= 64 { (tiles_of_64, 64) } else { (tiles_of_128, 128) };
        let row_tiles = if self.active.is_some() { 1 } else { rows.div_ceil(tile) };
        let grid = [
            int(OP, "columns", self.flat().div_ceil(TILE_FLAT))? as u32,
            grid_yz(OP, "rows", row_tiles)?,
            grid_yz(OP, "splits", self.splits)?,
        ];
        self.launch(kernel, grid, 2 * tile as u32, SHARED_BYTES)?;
        if self.splits == 1 {
            return Ok(());
        }
        let device = &self.gradient.device().clone();
        let length = int(OP, "length", self.gradient.len())?;
        let splits = int(OP, "splits", self.splits)?;
        let launch = Launch::new(device, sum_splits)?
            .read(self.scratch)
            .write(self.gradient)
            .value(&length)
            .value(&splits);
        // SAFETY: the parameters of conv2d_sum_splits; `scratch` has `splits` times `length`
        // values.
        unsafe { launch.run([length.cast_unsigned().div_ceil(256), 1, 1], 256, 0) }
    }

    fn run_plain(mut self, kernel: &Kernel) -> Result<()> {
        self.splits = 1;
        let blocks = int(OP, "columns", self.flat().div_ceil(128))? as u32;
        let rows = grid_yz(OP, "rows", self.geometry.rows as usize)?;
        self.launch(kernel, [blocks, rows, 1], 128, 0)
    }
}
