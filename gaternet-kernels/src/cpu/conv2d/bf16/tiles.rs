//! The register tile over pairs of bf16.
//!
//! Its channels are pairs of channels: each f32 of the source and of the weights stands for two
//! bf16. A tile's `channels` are 0, 1, ..., and the weights of a tap have one after the other. A
//! sum runs over taps and channels, so that its order does not depend on which channels are pairs.

/// Adds a tile's products to its sums, tap by tap.
macro_rules! add_products_of_pairs {
    ($args:ident, $vectors:ident, $sums:ident) => {
        use super::pairs;
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
                        pairs::load(pixels[p].add(pair * $args.channel_stride))
                    });
                    for f in 0..F {
                        let w = pairs::splat(*weights[f].add(pair));
                        for p in 0..P {
                            $sums[f][p] = pairs::fmadd(x[p], w, $sums[f][p]);
                        }
                    }
                }
            }
        }
    };
}

/// Defines the [`register_tiles`](crate::cpu::conv2d::tile::register_tiles) of pairs of bf16.
macro_rules! bf16_tile_kernels {
    ($(#[$feature:meta])? $name:ident, $sizes:tt) => {
        $crate::cpu::conv2d::tile::register_tiles!(
            $(#[$feature])? $name, $crate::cpu::conv2d::bf16::add_products_of_pairs, $sizes
        );
    };
}
pub(crate) use {add_products_of_pairs, bf16_tile_kernels};
