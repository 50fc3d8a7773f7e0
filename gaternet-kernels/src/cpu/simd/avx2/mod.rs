//! AVX2 and FMA: 16 registers of 8 lanes.

pub(super) mod pairs;
pub(super) mod vectors;

use super::{Features, KernelSet};
use crate::cpu::conv2d::bf16::{bf16_kernels, bf16_tile_kernels, compress};
use crate::cpu::conv2d::elements::element_kernels;
use crate::cpu::conv2d::image::no_blocks;
use crate::cpu::conv2d::tile::{panel_tile_kernels, tile_kernels};
use crate::cpu::conv2d::weight_grad::weight_grad_kernels;
use crate::cpu::conv2d::winograd::winograd_kernels;
use crate::cpu::reduce::reduce_kernels;

pub(super) static KERNELS: KernelSet = KernelSet {
    name: "avx2",
    detected: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
    features: Features::Avx2,
    tiles: tile::TILES,
    panel_tiles: panel_tile::TILES,
    bf16_tiles: bf16_tile::TILES,
    weight_grad: weight_grad::KERNELS,
    winograd: winograd::KERNELS,
    elements: elements::KERNELS,
    bf16: bf16::KERNELS,
    transpose: no_blocks,
    reduce: reduce::KERNELS,
};

panel_tile_kernels!(#[target_feature(enable = "avx2,fma")] panel_tile, {
    1: [1 2 3 4 5 6 7 8], 2: [1 2 3 4 5], 3: [1 2 3],
});
tile_kernels!(#[target_feature(enable = "avx2,fma")] tile, {
    1: [1 2 3 4 5 6 7],
    2: [1 2 3 4],
    3: [1 2 3],
});
bf16_tile_kernels!(#[target_feature(enable = "avx2,fma")] bf16_tile, {
    1: [1 2 3 4 5 6],
    2: [1 2 3 4],
});
// 8·1 sums.
weight_grad_kernels!(
    #[target_feature(enable = "avx2,fma")]
    weight_grad,
    [1]
);
winograd_kernels!(#[target_feature(enable = "avx2,fma")] winograd, {
    1: [1 2 3 4 5 6 7],
    2: [1 2 3 4],
    3: [1 2 3],
});
element_kernels!(#[target_feature(enable = "avx2,fma")] elements, [1 2]);
bf16_kernels!(#[target_feature(enable = "avx2,fma")] bf16, compress, {
    1: [1 2 3 4 5 6],
    2: [1 2 3 4],
});
reduce_kernels!(
    #[target_feature(enable = "avx2,fma")]
    reduce
);
