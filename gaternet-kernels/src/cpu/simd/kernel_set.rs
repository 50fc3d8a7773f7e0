//! The kernels of an instruction set as one table.

use crate::cpu::conv2d::{bf16, elements, image, tile, weight_grad, winograd};
use crate::cpu::reduce;

/// All kernels of an instruction set. They may be called where [`detected`](Self::detected) is
/// true.
pub(crate) struct KernelSet {
    /// The name of the set for users and in `GATERNET_ISA`.
    pub(crate) name: &'static str,
    /// Whether this machine has it.
    pub(crate) detected: fn() -> bool,
    /// The features that [`dispatch`](crate::cpu::isa::dispatch) may use, all of which a machine
    /// with this set has.
    pub(crate) features: Features,
    /// The register tiles of the direct convolution.
    pub(crate) tiles: tile::Tiles,
    /// The register tiles over panels.
    pub(crate) panel_tiles: tile::Tiles,
    /// The register tiles over pairs of bf16.
    pub(crate) bf16_tiles: tile::Tiles,
    /// The register tiles of the gradient of the weight.
    pub(crate) weight_grad: weight_grad::Kernels,
    /// Winograd's convolution whose lanes are tiles.
    pub(crate) winograd: winograd::Kernels,
    /// Winograd's convolution whose lanes are elements of a tile.
    pub(crate) elements: elements::Kernels,
    /// The products of Winograd's convolution, and compressed weights, of pairs of bf16.
    pub(crate) bf16: bf16::Kernels,
    /// The copying of planes to channel-last form, in blocks.
    pub(crate) transpose: image::TransposeFn,
    /// The sums over rows of a block.
    pub(crate) reduce: reduce::Kernels,
}

/// The features that the compiler may use in a body that it vectorises by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
pub(crate) enum Features {
    /// The features that every processor of the target has, NEON on aarch64 among them.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, BW and DQ, AVX2 and FMA.
    Avx512,
}
