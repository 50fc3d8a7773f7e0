//! The register tile over pairs of bf16.

use crate::cpu::conv2d::tile::{Tile, TileFn, Tiles, tile_kernels};
use crate::cpu::isa::{Isa, Level};

/// Tile kernels whose channels are pairs of channels: each f32 of the source and of the weights stands for two
/// bf16. A tile's `channels` are 0, 1, ..., and the weights of a tap have one after the other. A sum runs over
/// taps and channels, so that its order does not depend on which channels are pairs.
pub(super) fn tiles(isa: Isa) -> &'static Tiles {
    match isa.bf16_level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 => &avx512bf16::TILES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &avx512::TILES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &avx2::TILES,
        #[cfg(any(target_arch = "aarch64", test))]
        Level::Neon => &scalar::TILES,
        Level::Scalar => &scalar::TILES,
    }
}

/// Adds a tile's products to its sums, tap by tap.
macro_rules! add_products_of_pairs {
    ($isa:ident, $args:ident, $vectors:ident, $sums:ident) => {
        use crate::cpu::simd::bf16::$isa as bf16;
        for tap in $args.taps {
            // SAFETY: every address below is one that the contract makes readable.
            unsafe {
                let source = $args.source.add(tap.source);
                let pixels: [*const f32; P] =
                    std::array::from_fn(|p| source.add($vectors[p].source));
                let weights: [*const f32; F] =
                    std::array::from_fn(|f| $args.weights[f].add(tap.weight));
                for pair in 0..$args.channels.len() {
                    let x: [_; P] = std::array::from_fn(|p| {
                        bf16::load(pixels[p].add(pair * $args.channel_stride))
                    });
                    for f in 0..F {
                        let w = bf16::splat(*weights[f].add(pair));
                        for p in 0..P {
                            $sums[f][p] = bf16::fmadd(x[p], w, $sums[f][p]);
                        }
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tile_kernels!(
    #[target_feature(enable = "avx512f,avx512bf16")] avx512bf16, avx512, add_products_of_pairs,
    {
        1: [1 2 3 4 5 6 7 8],
        2: [1 2 3 4 5 6 7 8],
        3: [1 2 3 4 5 6 7],
        4: [1 2 3 4 5],
        5: [1 2 3 4],
        6: [1 2 3],
    }
);
// A pair of pixels and a pair of weights take two registers each.
#[cfg(target_arch = "x86_64")]
tile_kernels!(#[target_feature(enable = "avx512f")] avx512, avx512, add_products_of_pairs, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6],
    4: [1 2 3 4],
});
#[cfg(target_arch = "x86_64")]
tile_kernels!(#[target_feature(enable = "avx2,fma")] avx2, avx2, add_products_of_pairs, {
    1: [1 2 3 4 5 6],
    2: [1 2 3 4],
});
#[cfg(target_arch = "x86_64")]
tile_kernels!(scalar, scalar, add_products_of_pairs, {
    1: [1 2 3 4],
    2: [1 2],
});
#[cfg(not(target_arch = "x86_64"))]
tile_kernels!(scalar, scalar, add_products_of_pairs, {
    1: [1 2 3 4 5 6],
    2: [1 2 3],
});
