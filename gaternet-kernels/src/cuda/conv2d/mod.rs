//! Convolution that does no work for rows of the weight that are off, per sample: in bf16 on tensor cores with f32 sums,
//! and in f32 with plain loops, to compare a GPU with the CPU.
//!
//! The weight lies in [`Rows`], and two kernels serve four passes: *to rows* computes the live rows from a dense
//! activation, *from rows* a dense activation from the live rows (`kernels-cu/conv2d.cuh`). An activation on the
//! side of the rows is compact where there is a list of live rows, else dense; see [`layout`](super::layout).

mod epilogue;
mod geometry;
mod pass;
mod weight_grad;
mod wgmma;

use half::bf16;

pub use self::epilogue::{Backward, Forward, GateColumns, GateGradient};
use self::geometry::Direction;
use self::pass::Pass;
use self::weight_grad::WeightGrad;
pub use self::weight_grad::{backward_weight, backward_weight_scratch_len};
use super::buffer::{CudaBuffer, CudaElement};
use super::compile::{Source, source};
use super::error::Result;
use super::gate::LiveFilters;
use super::launch::Kernel;
use super::layout::Rows;
use crate::dims::Conv2dDims;

pub(super) static SOURCES: [&Source; 4] =
    [&SOURCE, &F32_SOURCE, &WEIGHT_GRAD_SOURCE, &wgmma::SOURCE];
static SOURCE: Source = source!("conv2d.cu", ["conv2d.cuh", "conv2d_epilogue.cuh", "dev.cuh"]);
static F32_SOURCE: Source =
    source!("conv2d_f32.cu", ["conv2d.cuh", "conv2d_epilogue.cuh", "dev.cuh"]);
static WEIGHT_GRAD_SOURCE: Source = source!("conv2d_weight_grad.cu", ["conv2d.cuh", "dev.cuh"]);

/// What activations and weights are made of: bf16 or f32.
pub trait ConvElement: CudaElement {
    #[doc(hidden)]
    const KERNELS: &'static Kernels;
    #[doc(hidden)]
    fn weight_grad(call: WeightGrad<'_, Self>) -> Result<()>;
}

/// The kernels for one element, and their tiles.
#[derive(Debug)]
#[doc(hidden)]
pub struct Kernels {
    to_rows: Kernel,
    from_rows: Kernel,
    /// Of a block.
    threads: u32,
    /// Outputs of a block; 0 if every place of the target's stride is one block.
    tile_outputs: usize,
    /// Bytes of shared memory, without the lists of where rows begin.
    tile_bytes: usize,
    /// Whether *to rows* has such a list, of the block's outputs.
    lists_outputs: bool,
    /// Whether *from rows* has one, of all live rows.
    lists_rows: bool,
    /// Those to use instead where it is worth it.
    wgmma: Option<&'static Kernels>,
}

/// Pixels of a block, in all kernels.
const TILE_PIXELS: usize = 128;

impl ConvElement for bf16 {
    const KERNELS: &'static Kernels = &Kernels {
        to_rows: Kernel { source: &SOURCE, name: "conv2d_to_rows" },
        from_rows: Kernel { source: &SOURCE, name: "conv2d_from_rows" },
        threads: 128,
        tile_outputs: 64,
        tile_bytes: 48 << 10,
        lists_outputs: false,
        lists_rows: true,
        wgmma: Some(&wgmma::KERNELS),
    };

    fn weight_grad(call: WeightGrad<'_, Self>) -> Result<()> {
        call.run_bf16()
    }
}

impl ConvElement for f32 {
    const KERNELS: &'static Kernels = &Kernels {
        to_rows: Kernel { source: &F32_SOURCE, name: "conv2d_f32_to_rows" },
        from_rows: Kernel { source: &F32_SOURCE, name: "conv2d_f32_from_rows" },
        threads: 128,
        tile_outputs: 0,
        tile_bytes: 16,
        lists_outputs: false,
        lists_rows: false,
        wgmma: None,
    };

    fn weight_grad(call: WeightGrad<'_, Self>) -> Result<()> {
        call.run_f32()
    }
}

/// output (N, OH, OW, stride(F)) of input (N, H, W, stride(C)).
///
/// Rows::Filters: the input is dense, the output compact by `live`. Rows::Channels: the input is compact by `live`, the
/// output dense. Without `live` both are dense.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a buffer or the lists do not fit `dims`; the driver's errors.
pub fn forward<T: ConvElement>(
    dims: &Conv2dDims,
    rows: Rows,
    live: Option<&LiveFilters>,
    input: &CudaBuffer<T>,
    weight: &CudaBuffer<T>,
    epilogue: Forward<'_, T>,
    output: &mut CudaBuffer<T>,
) -> Result<()> {
    let pass = Pass::new("conv2d_forward", Direction::Forward, dims, rows)?;
    pass.check_len("input", pass.source_len, input.len())?;
    pass.check_len("output", pass.target_len, output.len())?;
    pass.run(live, input, weight, epilogue.into(), output)
}

/// Gradient of the input (N, H, W, stride(C)) from that of the output (N, OH, OW, stride(F)).
///
/// Rows::Filters: `grad_output` is compact by `live`, `grad_input` dense. Rows::Channels: `grad_output` is dense,
/// `grad_input` compact by `live`, and so are the buffers of `epilogue` that are like it. Without `live` all are dense.
///
/// # Errors
/// As [`forward`].
pub fn backward_input<T: ConvElement>(
    dims: &Conv2dDims,
    rows: Rows,
    live: Option<&LiveFilters>,
    grad_output: &CudaBuffer<T>,
    weight: &CudaBuffer<T>,
    epilogue: Backward<'_, T>,
    grad_input: &mut CudaBuffer<T>,
) -> Result<()> {
    let pass = Pass::new("conv2d_backward_input", Direction::BackwardInput, dims, rows)?;
    pass.check_len("grad_output", pass.source_len, grad_output.len())?;
    pass.check_len("grad_input", pass.target_len, grad_input.len())?;
    pass.run(live, grad_output, weight, epilogue.into(), grad_input)
}

/// How many values of scratch a [`GateGradient`] needs.
#[must_use]
pub fn gate_gradient_scratch_len(dims: &Conv2dDims) -> usize {
    dims.batch() * dims.in_channels() * wgmma::most_blocks(dims.in_size())
}
