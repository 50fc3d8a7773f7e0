//! Gradient to the weights.
//!
//! The lanes are (kernel column, input channel) pairs: with the pixels of a bordered sample stored
//! channel-last, the KW·C floats that a kernel row touches are adjacent, whatever the stride. A tile
//! holds F filters x V vectors of them in registers over all pixels of a sample; each pixel costs V
//! loads, F broadcasts of the output gradient, and F·V multiply-adds. No horizontal sums, and each
//! live filter costs the same.
//!
//! Samples are summed in a fixed number of chunks, each into a partial gradient of its own, added up
//! in order at the end: no atomics, and bits that do not depend on the number of threads.

use rayon::prelude::*;

use super::Live;
use super::channel_last::{Bordered, channel_last};
use super::tile::even_ranges;
use crate::cpu::elementwise::sum_parts;
use crate::cpu::isa::{Isa, Level};
use crate::cpu::scratch::with_scratch;
use crate::dims::Conv2dDims;

/// Partial gradients of a batch.
pub(super) const CHUNKS: usize = 16;
pub(super) const MAX_FILTERS: usize = 8;

/// Checked slices, as in [`super::backward_weight`].
pub(super) fn run(
    isa: Isa,
    dims: &Conv2dDims,
    live: Live<'_>,
    input: &[f32],
    grad_output: &[f32],
    grad_weight: &mut [f32],
) {
    if grad_weight.is_empty() {
        return;
    }
    let layout = Layout::new(dims, Kernels::of(isa).lanes);
    let samples = dims.batch().div_ceil(CHUNKS).max(1);
    let chunks = dims.batch().div_ceil(samples);
    let len = layout.partial_len(dims);
    let mut partials = vec![0.0; chunks * len];
    partials.par_chunks_mut(len).enumerate().for_each(|(chunk, partial)| {
        let end = dims.batch().min((chunk + 1) * samples);
        for n in chunk * samples..end {
            add_sample(isa, dims, &layout, live, n, input, grad_output, partial);
        }
    });

    let mut sums = vec![0.0; len];
    sum_parts(isa, &partials, &mut sums);

    // (F, KH, KW·C padded to vectors) -> (F, C, KH, KW)
    let [kh, kw] = dims.kernel();
    let per_filter = dims.in_channels() * kh * kw;
    grad_weight.par_chunks_mut(per_filter).enumerate().for_each(|(f, grad)| {
        for (i, grad) in grad.iter_mut().enumerate() {
            let (c, ky, kx) = (i / (kh * kw), i / kw % kh, i % kw);
            let at = (f * kh + ky) * layout.row + kx * dims.in_channels() + c;
            *grad = sums[at];
        }
    });
}

struct Layout {
    /// Bordered width in pixels.
    width: usize,
    /// Bordered height that the kernel reaches.
    height: usize,
    /// KW·C rounded up to vectors.
    row: usize,
    vectors: usize,
    lanes: usize,
}

impl Layout {
    fn new(dims: &Conv2dDims, lanes: usize) -> Layout {
        let vectors = (dims.kernel()[1] * dims.in_channels()).div_ceil(lanes);
        Layout {
            width: dims.in_size()[1] + 2 * dims.padding()[1],
            height: dims.in_size()[0] + 2 * dims.padding()[0],
            row: vectors * lanes,
            vectors,
            lanes,
        }
    }

    fn partial_len(&self, dims: &Conv2dDims) -> usize {
        dims.out_channels() * dims.kernel()[0] * self.row
    }

    /// Floats of a channel-last sample; the vectors of the last pixel reach less than one vector
    /// beyond its end.
    fn scratch_len(&self, dims: &Conv2dDims) -> usize {
        self.height * self.width * dims.in_channels() + self.lanes
    }
}

#[allow(clippy::too_many_arguments)]
fn add_sample(
    isa: Isa,
    dims: &Conv2dDims,
    layout: &Layout,
    live: Live<'_>,
    n: usize,
    input: &[f32],
    grad_output: &[f32],
    partial: &mut [f32],
) {
    let every: Vec<u32>;
    let filters = match live.filters {
        Some(active) => active.row(n),
        None => {
            every = (0..dims.out_channels() as u32).collect();
            &every
        }
    };
    if filters.is_empty() {
        return;
    }
    let in_sample = dims.in_channels() * dims.in_plane();
    let input = &input[n * in_sample..(n + 1) * in_sample];
    let out_sample = dims.out_channels() * dims.out_plane();
    let grad_output = &grad_output[n * out_sample..(n + 1) * out_sample];
    with_scratch(layout.scratch_len(dims), |pixels| {
        let channels = live.channels.map(|active| active.row(n));
        let bordered = Bordered {
            channels: dims.in_channels(),
            size: dims.in_size(),
            front: dims.padding(),
            width: layout.width,
        };
        channel_last(isa, bordered, channels, input, pixels);
        let [oh, ow] = dims.out_size();
        let pixel = dims.in_channels();
        let kernels = Kernels::of(isa);
        let partial = partial.as_mut_ptr();
        for range in even_ranges(filters.len(), MAX_FILTERS) {
            let filters = &filters[range];
            for ky in 0..dims.kernel()[0] {
                let mut first = 0;
                for vectors in even_ranges(layout.vectors, kernels.max_vectors) {
                    let vectors = vectors.len();
                    let mut tile = Tile {
                        pixels: pixels[ky * layout.width * pixel + first * layout.lanes..].as_ptr(),
                        row_stride: dims.stride()[0] * layout.width * pixel,
                        pixel_stride: dims.stride()[1] * pixel,
                        size: [oh, ow],
                        grads: [grad_output.as_ptr(); MAX_FILTERS],
                        grad_stride: 1,
                        sums: [partial; MAX_FILTERS],
                    };
                    for (slot, f) in filters.iter().map(|f| *f as usize).enumerate() {
                        tile.grads[slot] = grad_output[f * oh * ow..].as_ptr();
                        tile.sums[slot] = partial.wrapping_add(
                            (f * dims.kernel()[0] + ky) * layout.row + first * layout.lanes,
                        );
                    }
                    // SAFETY: the instruction set was detected. `pixels` holds the bordered sample
                    // and a vector more; the furthest read starts at kernel row KH - 1 of the last
                    // output pixel and ends less than a vector after its KW·C floats. `sums` are
                    // vectors of distinct rows of `partial`, borrowed mutably by the caller.
                    unsafe { kernels.kernel(filters.len(), vectors)(&tile) };
                    first += vectors;
                }
            }
        }
    });
}

/// Arguments of a tile kernel.
pub(super) struct Tile {
    /// First vector at the first output pixel.
    pub(super) pixels: *const f32,
    /// From one output row, and one output pixel, to the next.
    pub(super) row_stride: usize,
    pub(super) pixel_stride: usize,
    /// (OH, OW).
    pub(super) size: [usize; 2],
    /// Output gradient plane of each filter, (OH, OW), its pixels `grad_stride` floats apart.
    pub(super) grads: [*const f32; MAX_FILTERS],
    pub(super) grad_stride: usize,
    /// Where each filter's V vectors are added.
    pub(super) sums: [*mut f32; MAX_FILTERS],
}

/// # Safety
/// The instruction set is present; V vectors at `pixels` are readable at every output pixel, OH·OW
/// floats at each of the F `grads`; V vectors at each of the F `sums` are writable, apart from each
/// other, and nothing else accesses them meanwhile.
pub(super) type TileFn = unsafe fn(&Tile);

pub(super) struct Kernels {
    pub(super) lanes: usize,
    pub(super) max_vectors: usize,
    /// `[V - 1][F - 1]`.
    tiles: &'static [[TileFn; MAX_FILTERS]],
}

impl Kernels {
    pub(super) fn of(isa: Isa) -> &'static Kernels {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &avx2::KERNELS,
            #[cfg(any(target_arch = "aarch64", test))]
            Level::Neon => &neon::KERNELS,
            _ => &scalar::KERNELS,
        }
    }

    pub(super) fn kernel(&self, filters: usize, vectors: usize) -> TileFn {
        self.tiles[vectors - 1][filters - 1]
    }
}

macro_rules! tile_kernels {
    ($(#[$feature:meta])? $isa:ident, [$($v:literal)+]) => {
        mod $isa {
            use super::{Kernels, Tile, TileFn};
            use crate::cpu::simd::$isa::{LANES, V, fmadd, load, splat, store, zero};

            /// # Safety
            /// That of [`TileFn`].
            $(#[$feature])?
            unsafe fn tile<const F: usize, const N: usize>(args: &Tile) {
                let mut sums: [[V; N]; F] = [[zero(); N]; F];
                let [height, width] = args.size;
                for y in 0..height {
                    // SAFETY: pixels and gradients of every output row are readable.
                    let (mut pixel, grads) = unsafe {
                        let grads: [*const f32; F] =
                            std::array::from_fn(|f| args.grads[f].add(y * width * args.grad_stride));
                        (args.pixels.add(y * args.row_stride), grads)
                    };
                    for x in 0..width {
                        // SAFETY: as above, for the pixels of the row.
                        let (values, grads): ([V; N], [V; F]) = unsafe {
                            (
                                std::array::from_fn(|v| load(pixel.add(v * LANES))),
                                std::array::from_fn(|f| splat(*grads[f].add(x * args.grad_stride))),
                            )
                        };
                        for f in 0..F {
                            for v in 0..N {
                                sums[f][v] = fmadd(values[v], grads[f], sums[f][v]);
                            }
                        }
                        pixel = pixel.wrapping_add(args.pixel_stride);
                    }
                }
                let one = splat(1.0);
                for f in 0..F {
                    for v in 0..N {
                        // SAFETY: V vectors of each filter are writable.
                        unsafe {
                            let target = args.sums[f].add(v * LANES);
                            store(target, fmadd(sums[f][v], one, load(target)));
                        }
                    }
                }
            }

            pub(super) static KERNELS: Kernels = Kernels {
                lanes: LANES,
                max_vectors: [$($v),+].len(),
                tiles: &[$([
                    tile::<1, $v> as TileFn, tile::<2, $v>, tile::<3, $v>, tile::<4, $v>,
                    tile::<5, $v>, tile::<6, $v>, tile::<7, $v>, tile::<8, $v>,
                ]),+],
            };
        }
    };
}

// 32 registers: 8·3 sums, 3 vectors of pixels, one gradient.
#[cfg(target_arch = "x86_64")]
tile_kernels!(#[target_feature(enable = "avx512f")] avx512, [1 2 3]);
// 16 registers: 8·1 sums.
#[cfg(target_arch = "x86_64")]
tile_kernels!(
    #[target_feature(enable = "avx2,fma")]
    avx2,
    [1]
);
// 32 registers, two a vector: 2·8·1 sums.
#[cfg(any(target_arch = "aarch64", test))]
tile_kernels!(
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
    neon,
    [1]
);
tile_kernels!(scalar, [1]);
