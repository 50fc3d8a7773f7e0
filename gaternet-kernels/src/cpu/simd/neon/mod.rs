//! NEON: 32 registers of 4 lanes, two to a vector. In tests on other processors, a model of its
//! intrinsics.

#[cfg(test)]
mod model;
mod vectors;

use super::{Features, KernelSet, scalar};
use crate::cpu::conv2d::elements::element_kernels;
use crate::cpu::conv2d::image::no_blocks;
use crate::cpu::conv2d::tile::{panel_tile_kernels, tile_kernels};
use crate::cpu::conv2d::weight_grad::weight_grad_kernels;
use crate::cpu::conv2d::winograd::winograd_kernels;
use crate::cpu::reduce::reduce_kernels;

/// Products of bf16 are the portable ones.
pub(super) static KERNELS: KernelSet = KernelSet {
    name: "neon",
    // Every aarch64 processor that runs std has it.
    detected: || true,
    features: Features::Baseline,
    tiles: tile::TILES,
    panel_tiles: panel_tile::TILES,
    weight_grad: weight_grad::KERNELS,
    winograd: winograd::KERNELS,
    elements: elements::KERNELS,
    transpose: no_blocks,
    reduce: reduce::KERNELS,
    ..scalar::SET
};

// 2·F·P sums, 2·P pixels and F weights; the compiler spills some of 5x2.
tile_kernels!(#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))] tile, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4],
    3: [1 2 3],
    4: [1 2],
});
panel_tile_kernels!(
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
    panel_tile,
    { 1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5], 3: [1 2 3], 4: [1 2] }
);
// 2·8·1 sums.
weight_grad_kernels!(
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
    weight_grad,
    [1]
);
winograd_kernels!(#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))] winograd, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5],
    3: [1 2 3],
    4: [1 2],
});
element_kernels!(
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))] elements, [1 2]
);
reduce_kernels!(
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
    reduce
);
