//! Convolution that does no work for rows of the weight that are inactive in a sample: in bf16 on
//! tensor cores with f32 sums, and in f32 with plain loops, to compare a GPU with the CPU.
//!
//! The weight lies in [`Rows`], and two kernels serve four passes: *to rows* computes the active
//! rows from a dense activation, *from rows* a dense activation from the active rows
//! (`kernels-cu/conv2d.cuh`). An activation on the side of the rows is compact where there is a
//! list of active rows, else dense; see [`layout`](super::layout).

mod element;
mod epilogue;
mod geometry;
mod pass;
mod weight_grad;
mod wgmma;

pub use self::element::ConvElement;
pub(super) use self::element::SOURCES;
pub use self::epilogue::{Backward, Forward, GateColumns, GateGradient};
use self::geometry::Direction;
use self::pass::Pass;
pub use self::weight_grad::{backward_weight, backward_weight_scratch_len};
use super::active_filters::CudaActiveFilters;
use super::buffer::CudaBuffer;
use super::error::Result;
use super::layout::Rows;
use crate::dims::Conv2dDims;

/// Computes output (N, OH, OW, stride(F)) of input (N, H, W, stride(C)) and weight in [`Rows`].
///
/// With [`Rows::Filters`] the input is dense and the output compact by `active`. With
/// [`Rows::Channels`] the input is compact by `active` and the output dense. Without `active` both
/// are dense.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a buffer or the lists do not fit `dims`; the driver's
/// errors.
pub fn forward<T: ConvElement>(
    dims: &Conv2dDims,
    rows: Rows,
    active: Option<&CudaActiveFilters>,
    input: &CudaBuffer<T>,
    weight: &CudaBuffer<T>,
    epilogue: Forward<'_, T>,
    output: &mut CudaBuffer<T>,
) -> Result<()> {
    let pass = Pass::new("conv2d_forward", Direction::Forward, dims, rows)?;
    pass.check_len("input", pass.source_len, input.len())?;
    pass.check_len("output", pass.target_len, output.len())?;
    pass.run(active, input, weight, epilogue.into(), output)
}

/// Computes the gradient of the input, (N, H, W, stride(C)), from that of the output, (N, OH, OW,
/// stride(F)).
///
/// With [`Rows::Filters`] `grad_output` is compact by `active` and `grad_input` dense. With
/// [`Rows::Channels`] `grad_output` is dense; `grad_input` and the buffers of `epilogue` that are
/// laid out like it are compact by `active`. Without `active` all are dense.
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward_input<T: ConvElement>(
    dims: &Conv2dDims,
    rows: Rows,
    active: Option<&CudaActiveFilters>,
    grad_output: &CudaBuffer<T>,
    weight: &CudaBuffer<T>,
    epilogue: Backward<'_, T>,
    grad_input: &mut CudaBuffer<T>,
) -> Result<()> {
    let pass = Pass::new("conv2d_backward_input", Direction::BackwardInput, dims, rows)?;
    pass.check_len("grad_output", pass.source_len, grad_output.len())?;
    pass.check_len("grad_input", pass.target_len, grad_input.len())?;
    pass.run(active, grad_output, weight, epilogue.into(), grad_input)
}

/// Returns how many values of scratch a [`GateGradient`] needs.
#[must_use]
pub fn gate_gradient_scratch_len(dims: &Conv2dDims) -> usize {
    dims.batch() * dims.in_channels() * wgmma::most_blocks(dims.in_size())
}
