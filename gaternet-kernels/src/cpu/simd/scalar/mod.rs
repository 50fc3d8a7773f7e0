//! Portable Rust, which every processor runs, with 8 lanes in whatever registers there are.

mod pairs;
pub(super) mod vectors;

use super::{Features, KernelSet};
use crate::cpu::conv2d::bf16::{bf16_kernels, bf16_tile_kernels, compress};
use crate::cpu::conv2d::elements::element_kernels;
use crate::cpu::conv2d::image::no_blocks;
use crate::cpu::conv2d::tile::{panel_tile_kernels, tile_kernels};
use crate::cpu::conv2d::weight_grad::weight_grad_kernels;
use crate::cpu::conv2d::winograd::winograd_kernels;
use crate::cpu::reduce::portable as reduce;

pub(super) static KERNELS: KernelSet = SET;

/// The kernels of [`KERNELS`], for sets that have some of them.
pub(super) const SET: KernelSet = KernelSet {
    name: "scalar",
    detected: || true,
    features: Features::Baseline,
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

weight_grad_kernels!(weight_grad, [1]);
element_kernels!(elements, [1]);

/// The kernels whose tiles fill the registers.
macro_rules! sized {
    (f32 $f32:tt, bf16 $bf16:tt) => {
        tile_kernels!(tile, $f32);
        panel_tile_kernels!(panel_tile, $f32);
        winograd_kernels!(winograd, $f32);
        bf16_tile_kernels!(bf16_tile, $bf16);
        bf16_kernels!(bf16, compress, $bf16);
    };
}

// 16 registers of four floats on x86-64, 32 elsewhere.
#[cfg(target_arch = "x86_64")]
sized!(f32 { 1: [1 2 3 4 5 6], 2: [1 2 3] }, bf16 { 1: [1 2 3 4], 2: [1 2] });
#[cfg(not(target_arch = "x86_64"))]
sized!(f32 { 1: [1 2 3 4 5 6], 2: [1 2 3 4] }, bf16 { 1: [1 2 3 4 5 6], 2: [1 2 3] });
