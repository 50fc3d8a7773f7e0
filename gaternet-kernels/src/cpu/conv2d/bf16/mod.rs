//! Convolutions whose operands are rounded to bf16, for inference.
//!
//! Pixels and weights lie in pairs of active channels, so that one instruction adds two products to
//! each of its lanes. It is the structure of f32 otherwise, with pairs for channels: a scalar pair
//! of weights, vectors of pairs of pixels, sums in f32, and bias, residual and ReLU on these. The
//! active channels of a sample decide which two are a pair: their pixels are paired when they are
//! written in padded or transformed form, and their weights by a compression of each active row.
//! The compression reads a row's weights once, whatever is active, and so its cost shows where a
//! row has few pixels.

mod channels;
mod direct;
pub(crate) mod kernels;
#[cfg(test)]
pub(super) mod tests;
mod tiles;
mod weights;

pub(super) use channels::Channels;
pub(super) use direct::Direct;
pub(crate) use kernels::{Kernels, MAX_ROWS, Pack, Products, ProductsFn, bf16_kernels, compress};
pub(crate) use tiles::{add_products_of_pairs, bf16_tile_kernels};
pub(super) use weights::Weights;
