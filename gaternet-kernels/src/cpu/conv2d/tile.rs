//! The register tile: F output rows x P pixel vectors of accumulators.
//!
//! Weights are scalars, pixels are the vector. For each active source channel and each tap: P loads
//! of pixels (a tap is an address offset), F weight broadcasts, F·P multiply-adds. The rows of a
//! tile are pointers into the ordinary weight array, so any active filters share one; the channels
//! come from a list, so any are skipped. A sum runs over channels and taps in list order in one
//! accumulator, so its bits do not depend on the tile it was computed in, nor on which other rows
//! are active.

use rayon::prelude::*;

use super::plan::{CopyRow, PixelVector, Tap};

/// The most rows of any tile.
pub(crate) const MAX_ROWS: usize = 8;

/// Arguments of a tile kernel.
pub(crate) struct Tile<'a> {
    /// The padded source of one sample.
    pub(crate) source: *const f32,
    /// The source channels to sum over.
    pub(crate) channels: &'a [u32],
    pub(crate) channel_stride: usize,
    pub(crate) taps: &'a [Tap],
    /// The first weight of each row of the tile; entries beyond its F rows are unused.
    pub(crate) weights: [*const f32; MAX_ROWS],
    pub(crate) weight_channel: usize,
    /// The tile's P vectors.
    pub(crate) vectors: &'a [PixelVector],
    /// The output plane of each row.
    pub(crate) targets: [*mut f32; MAX_ROWS],
    pub(crate) target_step: usize,
    /// The number that is added to each row's sums, and the plane that is added unless null (only
    /// where `target_step` is 1).
    pub(crate) biases: [f32; MAX_ROWS],
    pub(crate) residuals: [*const f32; MAX_ROWS],
    /// Whether a ReLU comes last.
    pub(crate) relu: bool,
}

/// # Safety
/// The instruction set is present; `vectors` has the kernel's P entries; for every listed channel,
/// tap and vector, `LANES` floats at `source + channel·channel_stride + tap + vector` and each
/// row's weight are readable, and the pixels the vectors' masks select are writable in each row's
/// target, which nothing else accesses meanwhile; so are they readable in its residual, if there is
/// one.
pub(crate) type TileFn = unsafe fn(&Tile<'_>);

/// The tile kernels of an instruction set.
pub(crate) struct Tiles {
    pub(crate) lanes: usize,
    pub(crate) copy: CopyRow,
    /// Copies pixels into a panel, and fetches those that follow: as many again, which the next
    /// panel takes. Prefetchers do not follow the pages of so many channels.
    pub(crate) pack: CopyRow,
    /// The most rows that fit in the registers with P vectors, at `[P - 1]`.
    pub(crate) max_rows: &'static [usize],
    /// The kernel for P vectors and F rows, at `[P - 1][F - 1]`.
    pub(crate) kernels: &'static [&'static [TileFn]],
}

impl Tiles {
    pub(crate) fn kernel(&self, rows: usize, vectors: usize) -> TileFn {
        self.kernels[vectors - 1][rows - 1]
    }

    /// Returns (F, P) of the tiles that cover `rows` x `vectors` with the least work: a tile costs
    /// its multiply-adds, or its loads if those take longer, and a fixed part for its stores.
    pub(crate) fn choose(&self, rows: usize, vectors: usize) -> (usize, usize) {
        self.choose_within(self.max_rows.len(), rows, vectors)
    }

    /// Returns what [`choose`](Self::choose) does, with P at most `most` (and at least 1).
    pub(crate) fn choose_within(&self, most: usize, rows: usize, vectors: usize) -> (usize, usize) {
        let cost = |f: usize, p: usize| {
            let (tiles_f, tiles_p) = (rows.div_ceil(f), vectors.div_ceil(p));
            let products = rows * vectors;
            let loads = rows * tiles_p + vectors * tiles_f;
            products.max(loads) * 16 + tiles_f * tiles_p * 8 + loads
        };
        let options = (1..=self.max_rows.len().min(most).max(1))
            .map(|p| (self.max_rows[p - 1], p))
            .filter(|(f, p)| f * p >= 4 || *f >= rows || *p >= vectors);
        options.min_by_key(|(f, p)| cost(*f, *p)).unwrap_or((1, 1))
    }
}

/// Splits `0..total` into the fewest ranges of at most `max`, as even as possible.
pub(crate) fn even_ranges(
    total: usize,
    max: usize,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let parts = total.div_ceil(max);
    (0..parts).map(move |part| even_range(total, parts, part))
}

/// Returns range number `part` of `parts` ranges that `0..total` is split into.
pub(crate) fn even_range(total: usize, parts: usize, part: usize) -> std::ops::Range<usize> {
    total * part / parts..total * (part + 1) / parts
}

/// Calls `work` on all threads with groups of at most `most` of `0..total`, each with all of
/// `0..rows`, or, if the groups are fewer than the threads, with parts of them of at least
/// `least_rows`.
pub(crate) fn share_out(
    total: usize,
    most: usize,
    rows: usize,
    least_rows: usize,
    work: impl Fn(std::ops::Range<usize>, std::ops::Range<usize>) + Sync,
) {
    let groups = total.div_ceil(most);
    let most_rows = rows.div_ceil(rayon::current_num_threads().div_ceil(groups.max(1)));
    let parts = rows.div_ceil(most_rows.max(least_rows));
    (0..groups * parts).into_par_iter().for_each(|task| {
        work(even_range(total, groups, task / parts), even_range(rows, parts, task % parts));
    });
}

/// Adds a tile's products to its sums, channel by channel.
macro_rules! add_products {
    ($args:ident, $vectors:ident, $sums:ident) => {
        use super::vectors::fmadd;
        for channel in $args.channels {
            let channel = *channel as usize;
            // SAFETY: every address below is one that the contract makes readable.
            unsafe {
                let source = $args.source.add(channel * $args.channel_stride);
                let pixels: [*const f32; P] =
                    std::array::from_fn(|p| source.add($vectors[p].source));
                let weights: [*const f32; F] =
                    std::array::from_fn(|f| $args.weights[f].add(channel * $args.weight_channel));
                for tap in $args.taps {
                    let x: [V; P] = std::array::from_fn(|p| load(pixels[p].add(tap.source)));
                    for f in 0..F {
                        let w = splat(*weights[f].add(tap.weight));
                        for p in 0..P {
                            $sums[f][p] = fmadd(x[p], w, $sums[f][p]);
                        }
                    }
                }
            }
        }
    };
}

/// Adds the products of a panel to a tile's sums: one tap, and the P vectors of a channel one after
/// the other, so that a channel takes one address.
macro_rules! add_panel_products {
    ($args:ident, $vectors:ident, $sums:ident) => {
        use super::vectors::fmadd;
        let weights: [*const f32; F] =
            std::array::from_fn(|f| $args.weights[f].wrapping_add($args.taps[0].weight));
        for channel in $args.channels {
            let channel = *channel as usize;
            // SAFETY: every address below is one that the contract makes readable; the vectors'
            // offsets are p·LANES, as the kernel's caller promises.
            unsafe {
                let pixels = $args.source.add(channel * $args.channel_stride);
                let weight = channel * $args.weight_channel;
                let x: [V; P] = std::array::from_fn(|p| load(pixels.add(p * LANES)));
                for f in 0..F {
                    let w = splat(*weights[f].add(weight));
                    for p in 0..P {
                        $sums[f][p] = fmadd(x[p], w, $sums[f][p]);
                    }
                }
            }
        }
    };
}

/// Defines the tiles of an instruction set as `$name::TILES`, whose products `$add_products` adds.
/// Vectors are those of the module `vectors` beside it.
macro_rules! register_tiles {
    (
        $(#[$feature:meta])? $name:ident, $add_products:path,
        { $($p:literal: [$($f:literal)+]),+ $(,)? }
    ) => {
        pub(super) mod $name {
            use super::vectors::{
                LANES, V, add, load, load_lanes, prefetch, relu, splat, store, store_lanes,
            };
            use $crate::cpu::conv2d::tile::{Tile, TileFn, Tiles};

            const FULL: u16 = ((1u32 << LANES) - 1) as u16;

            /// # Safety
            /// The contract of [`TileFn`].
            $(#[$feature])?
            unsafe fn tile<const F: usize, const P: usize>(args: &Tile<'_>) {
                let mut sums: [[V; P]; F] = std::array::from_fn(|f| [splat(args.biases[f]); P]);
                let vectors: &[_; P] = args.vectors.first_chunk().expect("a tile of P vectors");
                $add_products!(args, vectors, sums);
                for f in 0..F {
                    for p in 0..P {
                        // SAFETY: the pixels of the mask are writable in this row's plane.
                        unsafe {
                            let target = args.targets[f].add(vectors[p].target);
                            let mask = vectors[p].mask;
                            if !args.residuals[f].is_null() {
                                let residual = args.residuals[f].add(vectors[p].target);
                                sums[f][p] = add(sums[f][p], load_lanes(residual, mask));
                            }
                            if args.relu {
                                sums[f][p] = relu(sums[f][p]);
                            }
                            if args.target_step == 1 {
                                if mask == FULL {
                                    store(target, sums[f][p]);
                                } else {
                                    store_lanes(target, mask, sums[f][p]);
                                }
                            } else {
                                let mut lanes = [0.0; LANES];
                                store(lanes.as_mut_ptr(), sums[f][p]);
                                for lane in 0..mask.count_ones() as usize {
                                    target.add(lane * args.target_step).write(lanes[lane]);
                                }
                            }
                        }
                    }
                }
            }

            /// # Safety
            /// The instruction set is present.
            $(#[$feature])?
            unsafe fn copy_row(to: &mut [f32], from: &[f32]) {
                assert_eq!(to.len(), from.len(), "rows of one length");
                let Some(last) = to.len().checked_sub(LANES) else {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    return;
                };
                let (to, from) = (to.as_mut_ptr(), from.as_ptr());
                for x in (0..last).step_by(LANES).chain([last]) {
                    // SAFETY: x is at most LANES before the end of both.
                    unsafe { store(to.add(x), load(from.add(x))) };
                }
            }

            /// # Safety
            /// The instruction set is present.
            $(#[$feature])?
            unsafe fn pack(to: &mut [f32], from: &[f32]) {
                assert_eq!(to.len(), from.len(), "rows of one length");
                let ahead = to.len();
                for (to, from) in to.chunks_exact_mut(LANES).zip(from.chunks_exact(LANES)) {
                    prefetch(from.as_ptr().wrapping_add(ahead));
                    // SAFETY: both are LANES long.
                    unsafe { store(to.as_mut_ptr(), load(from.as_ptr())) };
                }
            }

            pub(in super::super) const TILES: Tiles = Tiles {
                lanes: LANES,
                // SAFETY: as `copy`.
                pack: |to, from| unsafe { pack(to, from) },
                // SAFETY: a `KernelSet` is used only where its instruction set was detected.
                copy: |to, from| unsafe { copy_row(to, from) },
                max_rows: &[$([$($f),+].len()),+],
                kernels: &[$(&[$(tile::<$f, $p> as TileFn),+]),+],
            };
        }
    };
}

/// Defines the [`register_tiles`] of f32.
macro_rules! tile_kernels {
    ($(#[$feature:meta])? $name:ident, $sizes:tt) => {
        $crate::cpu::conv2d::tile::register_tiles!(
            $(#[$feature])? $name, $crate::cpu::conv2d::tile::add_products, $sizes
        );
    };
}

/// Defines the [`register_tiles`] of f32 for panels: their one tap is at offset 0, and vector p at
/// p·LANES.
macro_rules! panel_tile_kernels {
    ($(#[$feature:meta])? $name:ident, $sizes:tt) => {
        $crate::cpu::conv2d::tile::register_tiles!(
            $(#[$feature])? $name, $crate::cpu::conv2d::tile::add_panel_products, $sizes
        );
    };
}
pub(crate) use {
    add_panel_products, add_products, panel_tile_kernels, register_tiles, tile_kernels,
};
