//! The gradient of the weight.
//!
//! The lanes are (kernel column, input channel) pairs: with the pixels of a padded sample stored
//! channel-last, the KW·C floats that a kernel row touches are adjacent, whatever the stride. A
//! tile holds F filters x V vectors of them in registers over all pixels of a sample; each pixel
//! costs V loads, F broadcasts of the output gradient, and F·V multiply-adds. No horizontal sums,
//! and each active filter costs the same.
//!
//! Samples are summed in a fixed number of chunks, each into a partial gradient of its own, added
//! up in order at the end: no atomics, and bits that do not depend on the number of threads.

mod kernels;

use rayon::prelude::*;

use super::active::Active;
use super::channel_last::channel_last;
use super::image::Padded;
use super::tile::even_ranges;
use crate::cpu::elementwise::sum_parts;
use crate::cpu::isa::Isa;
use crate::cpu::scratch::{give, take, with_scratch};
use crate::dims::Conv2dDims;
pub(crate) use kernels::{Kernels, MAX_FILTERS, Tile, TileFn, weight_grad_kernels};

/// The number of partial gradients of a batch.
pub(super) const CHUNKS: usize = 16;

/// Computes [`super::backward_weight`] of slices that were checked.
pub(super) fn run(
    isa: Isa,
    dims: &Conv2dDims,
    active: Active<'_>,
    input: &[f32],
    grad_output: &[f32],
    grad_weight: &mut [f32],
) {
    if grad_weight.is_empty() {
        return;
    }
    let layout = Layout::new(dims, isa.kernels().weight_grad.lanes);
    let samples = dims.batch().div_ceil(CHUNKS).max(1);
    let chunks = dims.batch().div_ceil(samples);
    let len = layout.partial_len(dims);
    let mut buffer = take((chunks + 1) * len);
    let (partials, sums) = buffer[..(chunks + 1) * len].split_at_mut(chunks * len);
    partials.par_chunks_mut(len).enumerate().for_each(|(chunk, partial)| {
        partial.fill(0.0);
        let end = dims.batch().min((chunk + 1) * samples);
        for n in chunk * samples..end {
            add_sample(isa, dims, &layout, active, n, input, grad_output, partial);
        }
    });

    sum_parts(isa, partials, sums);

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
    give(buffer);
}

struct Layout {
    /// The padded width in pixels.
    width: usize,
    /// The padded height that the kernel reaches.
    height: usize,
    /// The floats of a row, KW·C rounded up to vectors.
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

    /// Returns the floats of a channel-last sample; the vectors of the last pixel reach less than
    /// one vector beyond its end.
    fn scratch_len(&self, dims: &Conv2dDims) -> usize {
        self.height * self.width * dims.in_channels() + self.lanes
    }
}

#[allow(clippy::too_many_arguments)]
fn add_sample(
    isa: Isa,
    dims: &Conv2dDims,
    layout: &Layout,
    active: Active<'_>,
    n: usize,
    input: &[f32],
    grad_output: &[f32],
    partial: &mut [f32],
) {
    let every: Vec<u32>;
    let filters = match active.filters {
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
        let channels = active.channels.map(|active| active.row(n));
        let padded = Padded {
            channels: dims.in_channels(),
            size: dims.in_size(),
            front: dims.padding(),
            width: layout.width,
        };
        channel_last(isa, padded, channels, input, pixels);
        let [oh, ow] = dims.out_size();
        let pixel = dims.in_channels();
        let kernels = &isa.kernels().weight_grad;
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
                    // SAFETY: the instruction set was detected. `pixels` holds the padded sample
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
