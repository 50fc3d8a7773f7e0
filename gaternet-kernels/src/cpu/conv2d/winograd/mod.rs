//! Winograd's minimal filtering for 3x3 kernels with stride 1 (Lavin and Gray 2016).
//!
//! A tile of m x m output pixels needs n = m + 2 pixels on a side. With `V = Bᵀ d B` of its input,
//! `U = G g Gᵀ` of a kernel, summed `P = Σ_c U ⊙ V` over the channels, its output is `Aᵀ P A`: n²
//! multiplications for each channel instead of 9·m², that is 2.25 times fewer for m = 2 and 4 times
//! fewer for m = 4.
//!
//! The lanes are tiles, so that a product is the register tile of a scalar weight again: V of the
//! active channels is computed once, P and the output for active rows only, and any of both can be
//! left out. For one algorithm an output's bits do not depend on what else is active. On maps of
//! few tiles the lanes are elements instead (`elements/`).

mod bf16;
pub(crate) mod elements;
mod kernels;
mod layout;
mod points;
pub(super) mod weight_grad;
mod weights;

use std::ops::Range;

use super::sample::Sample;
use super::tile::{even_ranges, share_out};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::with_scratch;
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;
pub(super) use bf16::WinogradBf16;
pub(super) use elements::Elements;
pub(crate) use kernels::{
    AHEAD, Input, Kernels, MAX_ROWS, Output, Products, ProductsFn, Rows, Spread, winograd_kernels,
};
use layout::Layout;
pub(super) use layout::grid;
pub(crate) use points::{A, B};
pub(super) use weights::{Taps, Weights};

/// The floats of transformed pixels to work on at a time: what the second-level cache holds beside
/// weights.
const CACHED: usize = 160 * 1024;

/// The floats that the last eight pixels of a plane read beyond its end.
const SLACK: usize = 16;

/// A convolution, or the gradient of its input, by Winograd's algorithm.
pub(super) struct Winograd {
    kernels: &'static Kernels,
    layout: Layout,
    out_plane: usize,
}

impl Winograd {
    /// Prepares a convolution of tiles of m = `tile`, 2 or 4; the kernel is 3x3, the stride 1, the
    /// padding at most 2.
    pub(super) fn forward(isa: Isa, dims: &Conv2dDims, tile: usize) -> Winograd {
        let kernels = &isa.kernels().winograd;
        let layout = Layout::forward(dims, tile, kernels.lanes);
        Winograd { kernels, layout, out_plane: dims.out_plane() }
    }

    pub(super) fn backward_input(isa: Isa, dims: &Conv2dDims, tile: usize) -> Winograd {
        let kernels = &isa.kernels().winograd;
        let layout = Layout::backward_input(dims, tile, kernels.lanes);
        Winograd { kernels, layout, out_plane: dims.in_plane() }
    }

    /// Returns m.
    pub(super) fn tile(&self) -> usize {
        self.layout.tile
    }

    /// Computes the active rows of a sample, on this thread.
    pub(super) fn sample(&self, sample: &Sample<'_>, weights: &Weights, target: &mut [f32]) {
        let target = &SharedSlice::new(target);
        for blocks in even_ranges(self.layout.blocks.len(), self.most_blocks(weights.channels, 1)) {
            self.group(sample, weights, blocks, 0..sample.rows.len(), target);
        }
    }

    /// Computes the active rows of a sample, on all threads.
    pub(super) fn split(&self, sample: &Sample<'_>, weights: &Weights, target: &mut [f32]) {
        let target = &SharedSlice::new(target);
        let most = self.most_blocks(weights.channels, rayon::current_num_threads());
        // Few tiles: their rows are shared out, and each thread transforms all pixels.
        share_out(self.layout.blocks.len(), most, sample.rows.len(), MAX_ROWS, |blocks, rows| {
            self.group(sample, weights, blocks, rows, target);
        });
    }

    /// Returns the most vectors of tiles to work on together: what the registers and the cache
    /// take, in at least `least` groups if there are so many.
    fn most_blocks(&self, channels: usize, least: usize) -> usize {
        let vector = self.layout.elements() * channels * self.kernels.lanes;
        let most = (CACHED / vector.max(1)).clamp(1, self.kernels.products.len());
        most.min(self.layout.blocks.len() / least).max(1)
    }

    /// Computes the tiles of `blocks` for some of the sample's active rows.
    fn group(
        &self,
        sample: &Sample<'_>,
        weights: &Weights,
        blocks: Range<usize>,
        rows: Range<usize>,
        target: &SharedSlice<'_>,
    ) {
        let blocks = &self.layout.blocks[blocks];
        let products = self.kernels.products[blocks.len() - 1];
        let vectors = blocks.len() * self.kernels.lanes;
        let above = blocks[0].rows.start;
        let padded_rows = above..blocks.last().map_or(above, |block| block.rows.end);
        let (inside, first_row) = self.layout.inside(&padded_rows);
        let row_stride = self.layout.row_stride;
        let ([_, width], [_, left]) = (self.layout.in_size, self.layout.front);
        // A vector more than there is keeps the elements of a tile out of each other's cache sets.
        let source_element = weights.channels * vectors + self.kernels.lanes;
        let sum_element = products.len() * vectors + self.kernels.lanes;
        let sizes = [
            padded_rows.len() * row_stride + SLACK,
            self.layout.elements() * source_element,
            self.layout.elements() * sum_element,
        ];
        let transforms = self.kernels.transforms[self.layout.tile / 4];
        with_scratch(sizes.iter().sum(), |scratch| {
            let (padded, scratch) = scratch.split_at_mut(sizes[0]);
            let (pixels, sums) = scratch.split_at_mut(sizes[1]);
            padded.fill(0.0);
            for channel in sample.channels.iter().map(|channel| *channel as usize) {
                let plane = sample.plane(channel);
                let rows = Rows {
                    source: plane[first_row * width..].as_ptr(),
                    target: padded[inside.start * row_stride + left..].as_mut_ptr(),
                    target_stride: row_stride,
                    rows: inside.len(),
                    width,
                };
                // SAFETY: the instruction set was detected; `inside` are rows of the plane, and
                // padded rows have room for them and what is left and right.
                unsafe { (self.kernels.copy)(&rows) };
                let targets = pixels[channel * vectors..].chunks_mut(self.kernels.lanes);
                for (block, target) in blocks.iter().zip(targets) {
                    let args = Input {
                        plane: padded.as_ptr().wrapping_sub(above * row_stride),
                        row_stride,
                        block,
                        target: target.as_mut_ptr(),
                        element: source_element,
                    };
                    // SAFETY: the instruction set was detected. The block's eights lie in
                    // `padded_rows`; reading six floats beyond a row stays in `padded` thanks
                    // to `SLACK`. The last of n² vectors ends where `pixels` does.
                    unsafe { transforms[usize::from(block.adjacent)].0(&args) };
                }
            }
            for range in even_ranges(rows.len(), products.len()) {
                let rows = &sample.rows[rows.start + range.start..rows.start + range.end];
                let mut args = Products {
                    elements: self.layout.elements(),
                    channels: sample.channels,
                    source: pixels.as_ptr(),
                    source_element,
                    weights: [weights.data.as_ptr(); MAX_ROWS],
                    weight_element: weights.element,
                    target: sums.as_mut_ptr(),
                    target_element: sum_element,
                };
                for (slot, row) in rows.iter().enumerate() {
                    args.weights[slot] = weights.row(sample.weight_row(*row as usize)).as_ptr();
                }
                // SAFETY: as above; a row's weights are n² runs of `channels` floats.
                unsafe { products[rows.len() - 1](&args) };
                for (slot, row) in rows.iter().map(|row| *row as usize).enumerate() {
                    for (i, block) in blocks.iter().enumerate() {
                        let args = Output {
                            source: sums[slot * vectors + i * self.kernels.lanes..].as_ptr(),
                            element: sum_element,
                            block,
                            plane: target.start().wrapping_add(row * self.out_plane),
                            residual: sample.epilogue.residual(row, self.out_plane),
                            width: self.layout.out_size[1],
                            bias: sample.epilogue.bias(row),
                            relu: sample.epilogue.relu,
                        };
                        // SAFETY: the sums of this row and block were written above. A block's
                        // targets are on the map, and no other block or row has them.
                        unsafe { transforms[usize::from(block.adjacent)].1(&args) };
                    }
                }
            }
        });
    }
}
