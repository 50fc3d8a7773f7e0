//! AVX-512 (F, VL, BW, DQ): 32 registers of 16 lanes.

mod compress;
pub(super) mod pairs;
pub(super) mod vectors;

use super::{Features, KernelSet, avx2};
use crate::cpu::conv2d::bf16::{bf16_kernels, bf16_tile_kernels};
use crate::cpu::conv2d::elements::element_kernels;
use crate::cpu::conv2d::image::Image;
use crate::cpu::conv2d::tile::{panel_tile_kernels, tile_kernels};
use crate::cpu::conv2d::weight_grad::weight_grad_kernels;
use crate::cpu::conv2d::winograd::winograd_kernels;
use crate::cpu::reduce::reduce_kernels;
pub(super) use compress::compress;

/// The floats from a block that is transposed to the one that is fetched: 16 planes are more
/// streams than the processor follows by itself.
const AHEAD: usize = 64;

pub(super) static KERNELS: KernelSet = SET;

/// The kernels of [`KERNELS`], for sets that have some of them.
pub(super) const SET: KernelSet = KernelSet {
    name: "avx512",
    detected: || {
        (avx2::KERNELS.detected)()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
    },
    features: Features::Avx512,
    tiles: tile::TILES,
    panel_tiles: panel_tile::TILES,
    bf16_tiles: bf16_tile::TILES,
    weight_grad: weight_grad::KERNELS,
    winograd: winograd::KERNELS,
    elements: elements::KERNELS,
    bf16: bf16::KERNELS,
    transpose: transpose_blocks,
    reduce: reduce::KERNELS,
};

// F·P sums, P pixels and F weights (the compiler loads all weights of a tap first).
tile_kernels!(#[target_feature(enable = "avx512f")] tile, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6 7],
    4: [1 2 3 4 5],
    5: [1 2 3 4],
    6: [1 2 3],
});
panel_tile_kernels!(#[target_feature(enable = "avx512f")] panel_tile, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6 7],
    4: [1 2 3 4 5],
    5: [1 2 3 4],
    6: [1 2 3],
});
// A pair of pixels and a pair of weights take two registers each.
bf16_tile_kernels!(#[target_feature(enable = "avx512f")] bf16_tile, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6],
    4: [1 2 3 4],
});
// 8·3 sums, 3 vectors of pixels, one gradient.
weight_grad_kernels!(#[target_feature(enable = "avx512f")] weight_grad, [1 2 3]);
winograd_kernels!(#[target_feature(enable = "avx512f,avx512vl")] winograd, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6 7],
    4: [1 2 3 4 5],
});
// 4·F sums, 4 pixels and a weight.
element_kernels!(#[target_feature(enable = "avx512f,avx512vl")] elements, [1 2 3 4 5 6]);
bf16_kernels!(#[target_feature(enable = "avx512f")] bf16, compress, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6],
    4: [1 2 3 4],
});
reduce_kernels!(
    #[target_feature(enable = "avx512f")]
    reduce
);

/// # Safety
/// The contract of [`TransposeFn`](crate::cpu::conv2d::image::TransposeFn).
#[target_feature(enable = "avx512f")]
unsafe fn transpose_blocks(image: &mut Image<'_>) -> usize {
    image.transpose_blocks(|sources, targets| {
        for source in sources {
            vectors::prefetch(source.wrapping_add(AHEAD));
        }
        // SAFETY: `transpose_blocks` passes 16 floats readable at each source and writable at each
        // target.
        unsafe { vectors::transpose(sources, targets) };
    })
}
