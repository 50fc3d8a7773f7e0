//! Convolution that does no work for rows of the weight that are off, per sample, on tensor cores: bf16 in, f32 sums,
//! bf16 out.
//!
//! The weight lies in [`Rows`], and two kernels serve four passes: *to rows* computes the live rows from a dense
//! activation, *from rows* a dense activation from the live rows (`kernels-cu/conv2d.cuh`). An activation on the
//! side of the rows is compact where there is a list of live rows, else dense; see [`layout`](super::layout).

use half::bf16;

use super::buffer::CudaBuffer;
use super::compile::{Source, source};
use super::device::CudaDevice;
use super::error::Result;
use super::gate::{LiveFilters, check_gates};
use super::launch::{Kernel, Launch, Value, grid_yz, int};
use super::layout::{Rows, stride};
use crate::dims::Conv2dDims;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("conv2d.cu", ["conv2d.cuh", "dev.cuh"]);
static TO_ROWS: Kernel = Kernel { source: &SOURCE, name: "conv2d_to_rows" };
static FROM_ROWS: Kernel = Kernel { source: &SOURCE, name: "conv2d_from_rows" };

/// Of conv2d.cu: pixels and outputs of a block, its threads, and bytes of its tiles in shared memory.
const TILE_PIXELS: usize = 128;
const TILE_OUTPUTS: usize = 64;
const THREADS: u32 = 128;
const TILE_BYTES: usize = 48 << 10;

/// What becomes of a sum: `relu(gate·(sum·scale + bias) + residual)`; a gate of 0 gives exactly 0 before the residual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// (outputs); 1 if absent.
    pub scale: Option<&'a CudaBuffer<f32>>,
    /// (outputs); 0 if absent.
    pub bias: Option<&'a CudaBuffer<f32>>,
    /// 1 if absent.
    pub gates: Option<GateColumns<'a>>,
    /// As the output; 0 if absent.
    pub residual: Option<&'a CudaBuffer<bf16>>,
    /// Whether values below 0 become 0.
    pub relu: bool,
}

/// The gates of one layer: columns `first..` of rows of `stride` values.
#[derive(Debug, Clone, Copy)]
pub struct GateColumns<'a> {
    /// (N, stride).
    pub gates: &'a CudaBuffer<f32>,
    /// Values in a row.
    pub stride: usize,
    /// The column of output 0.
    pub first: usize,
}

/// output (N, OH, OW, stride(F)) of input (N, H, W, stride(C)).
///
/// Rows::Filters: the input is dense, the output compact by `live`. Rows::Channels: the input is compact by `live`, the
/// output dense. Without `live` both are dense.
///
/// # Errors
/// [`KernelError`] if a buffer or the lists do not fit `dims`; the driver's errors.
pub fn forward(
    dims: &Conv2dDims,
    rows: Rows,
    live: Option<&LiveFilters>,
    input: &CudaBuffer<bf16>,
    weight: &CudaBuffer<bf16>,
    epilogue: Epilogue<'_>,
    output: &mut CudaBuffer<bf16>,
) -> Result<()> {
    let mut pass = Pass::new("conv2d_forward", Direction::Forward, dims, rows)?;
    check_len(pass.op, "input", pass.source_len, input.len())?;
    check_len(pass.op, "output", pass.target_len, output.len())?;
    pass.run(live, input, weight, epilogue, output)
}

/// Gradient of the input (N, H, W, stride(C)) from that of the output (N, OH, OW, stride(F)).
///
/// Rows::Filters: `grad_output` is compact by `live`, `grad_input` dense. Rows::Channels: `grad_output` is dense,
/// `grad_input` compact by `live`. Without `live` both are dense. The outputs of `epilogue` are input channels.
///
/// # Errors
/// As [`forward`].
pub fn backward_input(
    dims: &Conv2dDims,
    rows: Rows,
    live: Option<&LiveFilters>,
    grad_output: &CudaBuffer<bf16>,
    weight: &CudaBuffer<bf16>,
    epilogue: Epilogue<'_>,
    grad_input: &mut CudaBuffer<bf16>,
) -> Result<()> {
    let mut pass = Pass::new("conv2d_backward_input", Direction::BackwardInput, dims, rows)?;
    check_len(pass.op, "grad_output", pass.source_len, grad_output.len())?;
    check_len(pass.op, "grad_input", pass.target_len, grad_input.len())?;
    pass.run(live, grad_output, weight, epilogue, grad_input)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    BackwardInput,
}

/// Mirrors `Geometry` of conv2d.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Geometry {
    source_size: [i32; 2],
    source_stride: i32,
    target_size: [i32; 2],
    target_stride: i32,
    kernel: [i32; 2],
    rows: i32,
    columns: i32,
    column_stride: i32,
    up: [i32; 2],
    down: [i32; 2],
    offset: [i32; 2],
    direction: i32,
    gate_stride: i32,
    gate_first: i32,
    relu: i32,
}

// SAFETY: the same ints in the same order.
unsafe impl Value for Geometry {}

/// One of the two kernels, with the sizes of its call.
struct Pass {
    op: &'static str,
    to_rows: bool,
    batch: usize,
    rows: usize,
    outputs: usize,
    source_len: usize,
    target_len: usize,
    weight_len: usize,
    geometry: Geometry,
}

impl Pass {
    fn new(
        op: &'static str,
        direction: Direction,
        dims: &Conv2dDims,
        rows: Rows,
    ) -> Result<Pass, KernelError> {
        let forward = direction == Direction::Forward;
        let input = (dims.in_size(), dims.in_channels());
        let output = (dims.out_size(), dims.out_channels());
        let (source, target) = if forward { (input, output) } else { (output, input) };
        let ints = |what, pair: [usize; 2]| -> Result<[i32; 2], KernelError> {
            Ok([int(op, what, pair[0])?, int(op, what, pair[1])?])
        };
        let reach = |i: usize| dims.in_size()[i] + 2 * dims.padding()[i] + dims.stride()[i];
        if reach(0).max(reach(1)) >= 1 << 28 {
            let rule = "padded height and width must be below 2^28";
            return Err(KernelError::Dims { op, rule, got: format!("{dims:?}") });
        }
        let (padding, steps) = (ints("padding", dims.padding())?, ints("stride", dims.stride())?);
        let count = rows.count(dims);
        let weight_len = rows.weight_len(dims);
        for (what, value) in [
            ("pixels of the input", dims.in_plane()),
            ("pixels of the output", dims.out_plane()),
            ("values of the weight", weight_len),
        ] {
            int(op, what, value)?;
        }
        let len = |(size, channels): ([usize; 2], usize)| {
            dims.batch() * size[0] * size[1] * stride(channels)
        };
        Ok(Pass {
            op,
            to_rows: forward == (rows == Rows::Filters),
            batch: dims.batch(),
            rows: count,
            outputs: target.1,
            source_len: len(source),
            target_len: len(target),
            weight_len,
            geometry: Geometry {
                source_size: ints("size", source.0)?,
                source_stride: int(op, "channels", stride(source.1))?,
                target_size: ints("size", target.0)?,
                target_stride: int(op, "channels", stride(target.1))?,
                kernel: ints("kernel", dims.kernel())?,
                rows: int(op, "rows", count)?,
                columns: int(op, "columns", rows.columns(dims))?,
                column_stride: int(op, "columns", stride(rows.columns(dims)))?,
                up: if forward { steps } else { [1, 1] },
                down: if forward { [1, 1] } else { steps },
                offset: if forward { padding.map(|p| -p) } else { padding },
                direction: if forward { 1 } else { -1 },
                gate_stride: 0,
                gate_first: 0,
                relu: 0,
            },
        })
    }

    fn run(
        &mut self,
        live: Option<&LiveFilters>,
        source: &CudaBuffer<bf16>,
        weight: &CudaBuffer<bf16>,
        epilogue: Epilogue<'_>,
        target: &mut CudaBuffer<bf16>,
    ) -> Result<()> {
        let device = &target.device().clone();
        check_len(self.op, "weight", self.weight_len, weight.len())?;
        if let Some(live) = live {
            live.check(self.op, self.batch, self.rows)?;
        }
        self.check_epilogue(epilogue)?;
        let shared_bytes = self.shared_bytes(device)?;
        let grid = self.grid()?;
        let kernel = if self.to_rows { &TO_ROWS } else { &FROM_ROWS };
        let launch = Launch::new(device, kernel)?
            .read(source)
            .read(weight)
            .read_if(live.map(|live| &live.indices))
            .read_if(live.map(|live| &live.counts))
            .read_if(epilogue.scale)
            .read_if(epilogue.bias)
            .read_if(epilogue.gates.map(|columns| columns.gates))
            .read_if(epilogue.residual)
            .write(target)
            .value(&self.geometry);
        // SAFETY: the parameters of both kernels. All buffers have the lengths of the geometry; the lists hold at
        // most `rows` numbers below `rows`; `grid` and `shared_bytes` are what conv2d.cu says.
        unsafe { launch.run(grid, THREADS, shared_bytes) }
    }

    fn check_epilogue(&mut self, epilogue: Epilogue<'_>) -> Result<(), KernelError> {
        for (name, buffer) in [("scale", epilogue.scale), ("bias", epilogue.bias)] {
            if let Some(buffer) = buffer {
                check_len(self.op, name, self.outputs, buffer.len())?;
            }
        }
        if let Some(residual) = epilogue.residual {
            check_len(self.op, "residual", self.target_len, residual.len())?;
        }
        if let Some(columns) = epilogue.gates {
            let GateColumns { gates, stride, first } = columns;
            check_gates(self.op, gates, stride, first, self.batch, self.outputs)?;
            self.geometry.gate_stride = int(self.op, "stride of the gates", stride)?;
            self.geometry.gate_first = int(self.op, "first gate", first)?;
        }
        self.geometry.relu = i32::from(epilogue.relu);
        Ok(())
    }

    /// Blocks that cover every pixel, every output that could be live, and every sample.
    fn grid(&self) -> Result<[u32; 3], KernelError> {
        let [h, w] = self.geometry.target_size;
        let pixels = h as usize * w as usize;
        let outputs = grid_yz(self.op, "outputs", self.outputs.div_ceil(TILE_OUTPUTS))?;
        let batch = grid_yz(self.op, "batch", self.batch)?;
        Ok([pixels.div_ceil(TILE_PIXELS) as u32, outputs, batch])
    }

    /// The tiles, and in *from rows* where each live row begins.
    fn shared_bytes(&self, device: &CudaDevice) -> Result<u32, KernelError> {
        let starts = if self.to_rows { 0 } else { 4 * self.rows };
        let bytes = TILE_BYTES + starts;
        if bytes > device.max_shared_bytes() {
            let rule = "the live rows of a weight must fit in shared memory";
            let got = format!("{} rows, {bytes} bytes of {}", self.rows, device.max_shared_bytes());
            return Err(KernelError::Dims { op: self.op, rule, got });
        }
        int(self.op, "bytes of shared memory", bytes).map(|bytes| bytes as u32)
    }
}
