//! 2-D convolution that does no work for filters and channels that are off.
//!
//! [`forward`] and [`backward_input`] are one correlation (`correlate.rs`), which an [`Algorithm`] computes:
//! directly (`direct.rs`) with different plans (`plan.rs`) over one register tile (`tile.rs`), or by
//! Winograd's (`winograd/`), and a [`PreparedConv2d`] also with products of bf16 (`bf16/`). [`backward_weight`] has a layout of its own (`weight_grad.rs`).

mod algorithm;
pub(crate) mod bf16;
mod channel_last;
mod correlate;
mod direct;
pub(crate) mod image;
mod live;
mod method;
mod plan;
mod prepared;
mod sample;
#[cfg(test)]
mod tests;
pub(crate) mod tile;
pub(crate) mod weight_grad;
pub(crate) mod winograd;

use crate::cpu::isa::Isa;
use crate::dims::Conv2dDims;
use crate::error::{Result, check_len};
pub use algorithm::Algorithm;
use correlate::{Batch, Engine};
use direct::Direct;
pub use live::Live;
use live::every;
pub use method::Method;
pub use prepared::{Epilogue, PreparedConv2d};
pub(crate) use winograd::elements;
use winograd::{Elements, Weights, Winograd};

/// `output[n, f] = Σ_c weight[f, c] ⋆ input[n, c]` for the live filters f and channels c of sample n.
///
/// `input` (N, C, H, W), `weight` (F, C, KH, KW), `output` (N, F, OH, OW), overwritten: planes of
/// filters that are not live become +0.
///
/// For one instruction set and algorithm an output's bits depend neither on the number of threads nor on which
/// other filters are live, and skipping a channel gives the bits of a channel of zeros.
///
/// # Errors
/// If a length or a list does not fit `dims`; nothing is written then.
pub fn forward(
    isa: Isa,
    algorithm: Algorithm,
    dims: &Conv2dDims,
    live: Live<'_>,
    input: &[f32],
    weight: &[f32],
    output: &mut [f32],
) -> Result<()> {
    const OP: &str = "conv2d forward";
    live.check(OP, dims)?;
    algorithm.check(OP, dims)?;
    check_len(OP, "input", dims.input_len(), input.len())?;
    check_len(OP, "weight", dims.weight_len(), weight.len())?;
    check_len(OP, "output", dims.output_len(), output.len())?;
    let every = every(dims);
    let batch = Batch::forward(dims, live, &every, input);
    match algorithm.tile() {
        None => batch.run(&Engine::Direct(&Direct::forward(isa, dims), weight), output),
        Some(4) if Elements::suits(dims.out_size()) => {
            batch.run(&Engine::Elements(&Elements::forward(isa, dims, weight)), output);
        }
        Some(tile) => {
            let weights = Weights::forward(tile, dims, weight);
            let winograd = Winograd::forward(isa, dims, tile);
            batch.run(&Engine::Winograd(&winograd, &weights), output);
        }
    }
    Ok(())
}

/// `grad_input[n, c] = Σ_f weight[f, c] * grad_output[n, f]` (full convolution, stride undone) for the
/// live channels c and filters f of sample n.
///
/// `grad_output` (N, F, OH, OW), `weight` (F, C, KH, KW), `grad_input` (N, C, H, W), overwritten:
/// planes of channels that are not live become +0.
///
/// # Errors
/// If a length or a list does not fit `dims`; nothing is written then.
pub fn backward_input(
    isa: Isa,
    algorithm: Algorithm,
    dims: &Conv2dDims,
    live: Live<'_>,
    grad_output: &[f32],
    weight: &[f32],
    grad_input: &mut [f32],
) -> Result<()> {
    const OP: &str = "conv2d backward_input";
    live.check(OP, dims)?;
    algorithm.check(OP, dims)?;
    check_len(OP, "grad_output", dims.output_len(), grad_output.len())?;
    check_len(OP, "weight", dims.weight_len(), weight.len())?;
    check_len(OP, "grad_input", dims.input_len(), grad_input.len())?;
    let every = every(dims);
    let batch = Batch::backward_input(dims, live, &every, grad_output);
    match algorithm.tile() {
        None => batch.run(&Engine::Direct(&Direct::backward_input(isa, dims), weight), grad_input),
        Some(4) if Elements::suits(dims.in_size()) => {
            let elements = Elements::backward_input(isa, dims, weight);
            batch.run(&Engine::Elements(&elements), grad_input);
        }
        Some(tile) => {
            let weights = Weights::backward_input(tile, dims, weight);
            let winograd = Winograd::backward_input(isa, dims, tile);
            batch.run(&Engine::Winograd(&winograd, &weights), grad_input);
        }
    }
    Ok(())
}

/// `grad_weight[f, c] = Σ_n input[n, c] ⋆ grad_output[n, f]` over the samples n in which filter f and
/// channel c are both live.
///
/// `input` (N, C, H, W), `grad_output` (N, F, OH, OW), `grad_weight` (F, C, KH, KW), overwritten.
///
/// The order of the sum is fixed by the batch size: the result does not depend on the number of
/// threads. Winograd's algorithms sum what is not live as zeros; the direct one skips filters that are
/// not.
///
/// # Errors
/// If a length or a list does not fit `dims`; nothing is written then.
pub fn backward_weight(
    isa: Isa,
    algorithm: Algorithm,
    dims: &Conv2dDims,
    live: Live<'_>,
    input: &[f32],
    grad_output: &[f32],
    grad_weight: &mut [f32],
) -> Result<()> {
    const OP: &str = "conv2d backward_weight";
    live.check(OP, dims)?;
    algorithm.check(OP, dims)?;
    check_len(OP, "input", dims.input_len(), input.len())?;
    check_len(OP, "grad_output", dims.output_len(), grad_output.len())?;
    check_len(OP, "grad_weight", dims.weight_len(), grad_weight.len())?;
    match algorithm.tile() {
        None => weight_grad::run(isa, dims, live, input, grad_output, grad_weight),
        Some(tile) => {
            winograd::weight_grad::run(isa, tile, dims, live, input, grad_output, grad_weight);
        }
    }
    Ok(())
}
