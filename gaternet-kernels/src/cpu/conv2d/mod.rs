//! 2-D convolution that does no work for inactive filters and channels.
//!
//! [`Passes`] has the three passes of a convolution of one size, which a [`Cache`] keeps from step
//! to step. Its forward pass and the gradient to the input are one correlation (`correlate.rs`),
//! which an [`Algorithm`] computes: directly (`direct.rs`) with different plans (`plan.rs`) over
//! one register tile (`tile.rs`), or by Winograd's (`winograd/`), and a [`PreparedConv2d`] also
//! with products of bf16 (`bf16/`). [`backward_weight`] has a layout of its own (`weight_grad.rs`).

mod active;
mod algorithm;
pub(crate) mod bf16;
mod channel_last;
mod correlate;
mod direct;
pub(crate) mod image;
mod method;
mod passes;
pub(crate) mod plan;
mod prepared;
mod sample;
#[cfg(test)]
mod tests;
pub(crate) mod tile;
pub(crate) mod weight_grad;
pub(crate) mod winograd;

use crate::cpu::isa::Isa;
use crate::dims::Conv2dDims;
use crate::error::Result;
pub use active::Active;
pub use algorithm::Algorithm;
pub use method::Method;
pub use passes::{Cache, Passes};
pub use prepared::{Epilogue, PreparedConv2d};
pub(crate) use winograd::elements;

/// Computes [`Passes::forward`] for a size that is not used again.
///
/// # Errors
/// If a length or a list does not fit `dims`, or the algorithm cannot compute this convolution;
/// nothing is written then.
pub fn forward(
    isa: Isa,
    algorithm: Algorithm,
    dims: &Conv2dDims,
    active: Active<'_>,
    input: &[f32],
    weight: &[f32],
    output: &mut [f32],
) -> Result<()> {
    Passes::new(isa, algorithm, dims)?.forward(active, input, weight, output)
}

/// Computes [`Passes::backward_input`] for a size that is not used again.
///
/// # Errors
/// If a length or a list does not fit `dims`, or the algorithm cannot compute this convolution;
/// nothing is written then.
pub fn backward_input(
    isa: Isa,
    algorithm: Algorithm,
    dims: &Conv2dDims,
    active: Active<'_>,
    grad_output: &[f32],
    weight: &[f32],
    grad_input: &mut [f32],
) -> Result<()> {
    Passes::new(isa, algorithm, dims)?.backward_input(active, grad_output, weight, grad_input)
}

/// Computes `grad_weight[f, c] = Σ_n input[n, c] ⋆ grad_output[n, f]` over the samples n in which
/// filter f and channel c are both active.
///
/// `input` is (N, C, H, W), `grad_output` (N, F, OH, OW); `grad_weight` (F, C, KH, KW) is
/// overwritten.
///
/// The order of the sum is fixed by the batch size: the result does not depend on the number of
/// threads. Winograd's algorithms sum inactive filters and channels as zeros; the direct one skips
/// inactive filters.
///
/// # Errors
/// If a length or a list does not fit `dims`; nothing is written then.
pub fn backward_weight(
    isa: Isa,
    algorithm: Algorithm,
    dims: &Conv2dDims,
    active: Active<'_>,
    input: &[f32],
    grad_output: &[f32],
    grad_weight: &mut [f32],
) -> Result<()> {
    passes::weight_gradient(isa, algorithm, dims, active, input, grad_output, grad_weight)
}
