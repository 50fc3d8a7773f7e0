//! The kernels of an instruction set as one table.

use crate::cpu::conv2d::{bf16, elements, image, tile, weight_grad, winograd};
use crate::cpu::reduce;

/// All kernels of an instruction set. They may be called where [`detected`](Self::detected) is
/// true.
pub(crate) struct KernelSet {
    /// What users call the set, and `GATERNET_ISA`.
    pub(crate) name: &'static str,
    /// Whether this machine has it.
    pub(crate) detected: fn() -> bool,
    /// Features that [`dispatch`](crate::cpu::isa::dispatch) may use, all of which it has then.
    pub(crate) features: Features,
    /// Register tiles of the direct convolution.
    pub(crate) tiles: tile::Tiles,
    /// Those over pairs of bf16.
    pub(crate) bf16_tiles: tile::Tiles,
    /// Register tiles of the gradient to the weights.
    pub(crate) weight_grad: weight_grad::Kernels,
    /// Winograd's convolution whose lanes are tiles.
    pub(crate) winograd: winograd::Kernels,
    /// The same whose lanes are elements of a tile.
    pub(crate) elements: elements::Kernels,
    /// Its products, and compressed weights, of pairs of bf16.
    pub(crate) bf16: bf16::Kernels,
    /// Planes to channel-last, in blocks.
    pub(crate) transpose: image::TransposeFn,
    /// Sums over rows of a block.
    pub(crate) reduce: reduce::Kernels,
}

/// What the compiler may use in a body that it vectorises by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
pub(crate) enum Features {
    /// What every processor of the target has, NEON on aarch64 among it.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, BW and DQ, AVX2 and FMA.
    Avx512,
}
