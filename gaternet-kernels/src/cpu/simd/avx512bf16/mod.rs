//! AVX-512 with AVX512-BF16: its own products of bf16, all else is [`avx512`]'s.

mod pairs;

use super::KernelSet;
use super::avx512::{self, compress, vectors};
use crate::cpu::conv2d::bf16::{bf16_kernels, bf16_tile_kernels};

pub(super) static KERNELS: KernelSet = KernelSet {
    name: "avx512bf16",
    detected: || (avx512::KERNELS.detected)() && is_x86_feature_detected!("avx512bf16"),
    bf16_tiles: bf16_tile::TILES,
    bf16: bf16::KERNELS,
    ..avx512::SET
};

bf16_tile_kernels!(#[target_feature(enable = "avx512f,avx512bf16")] bf16_tile, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6 7],
    4: [1 2 3 4 5],
    5: [1 2 3 4],
    6: [1 2 3],
});
bf16_kernels!(#[target_feature(enable = "avx512f,avx512bw,avx512bf16")] bf16, compress, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6 7],
    4: [1 2 3 4 5],
});
