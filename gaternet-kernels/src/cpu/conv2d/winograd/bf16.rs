//! Winograd's algorithm with transformed pixels and weights in bf16: both transforms and all sums
//! are in f32, and each operand of a product is rounded once.

use std::ops::Range;

use super::kernels::{Input, Output, Rows};
use super::weights::Taps;
use super::{CACHED, SLACK, Winograd};
use crate::cpu::conv2d::bf16::{Channels, Kernels, MAX_ROWS, Pack, Products, Weights};
use crate::cpu::conv2d::sample::Sample;
use crate::cpu::conv2d::tile::{even_ranges, share_out};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::with_scratch;
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// A convolution by Winograd's algorithm with products of bf16.
pub(in super::super) struct WinogradBf16 {
    kernels: &'static Kernels,
    /// The transforms and the places of the tiles.
    f32: Winograd,
    channels: usize,
}

impl WinogradBf16 {
    /// Prepares a convolution of tiles of m = `tile`, 2 or 4; the kernel is 3x3, the stride 1, the
    /// padding at most 2.
    pub(in super::super) fn forward(isa: Isa, dims: &Conv2dDims, tile: usize) -> WinogradBf16 {
        let f32 = Winograd::forward(isa, dims, tile);
        WinogradBf16 { kernels: &isa.kernels().bf16, f32, channels: dims.in_channels() }
    }

    /// Transforms `weight` (F, C, 3, 3).
    pub(in super::super) fn weights(
        isa: Isa,
        tile: usize,
        dims: &Conv2dDims,
        weight: &[f32],
    ) -> Weights {
        let (rows, channels) = (dims.out_channels(), dims.in_channels());
        let room = vec![0.0; super::Weights::len(tile, dims)];
        let f32 = super::Weights::new(isa, tile, &Taps::forward(dims, weight), room);
        let elements = (tile + 2) * (tile + 2);
        Weights::new([rows, channels, elements], |row, channel, element| {
            f32.data[element * f32.element + row * channels + channel]
        })
    }

    /// Computes the active rows of a sample, on this thread.
    pub(in super::super) fn sample(
        &self,
        sample: &Sample<'_>,
        weights: &Weights,
        target: &mut [f32],
    ) {
        let target = &SharedSlice::new(target);
        for blocks in even_ranges(self.f32.layout.blocks.len(), self.most_blocks(1)) {
            self.group(sample, weights, blocks, 0..sample.rows.len(), target);
        }
    }

    /// Computes the active rows of a sample, on all threads.
    pub(in super::super) fn split(
        &self,
        sample: &Sample<'_>,
        weights: &Weights,
        target: &mut [f32],
    ) {
        let target = &SharedSlice::new(target);
        let (total, most) =
            (self.f32.layout.blocks.len(), self.most_blocks(rayon::current_num_threads()));
        // Few tiles: their rows are shared out, and each thread transforms all pixels.
        share_out(total, most, sample.rows.len(), MAX_ROWS, |blocks, rows| {
            self.group(sample, weights, blocks, rows, target);
        });
    }

    /// Returns the most vectors of tiles to work on together: what the registers and the cache
    /// take, in at least `least` groups if there are so many.
    fn most_blocks(&self, least: usize) -> usize {
        let pairs = self.channels.div_ceil(2);
        let vector = self.f32.layout.elements() * pairs * self.kernels.lanes;
        let most = (CACHED / vector.max(1)).clamp(1, self.kernels.products.len());
        most.min(self.f32.layout.blocks.len() / least).max(1)
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
        let (layout, lanes) = (&self.f32.layout, self.kernels.lanes);
        let blocks = &layout.blocks[blocks];
        let products = self.kernels.products[blocks.len() - 1];
        let (vectors, elements) = (blocks.len() * lanes, layout.elements());
        let above = blocks[0].rows.start;
        let padded_rows = above..blocks.last().map_or(above, |block| block.rows.end);
        let pairs = sample.channels.len().div_ceil(2);
        // A vector more than there is keeps the elements of a tile out of each other's cache sets.
        let source_element = pairs * vectors + lanes;
        let sum_element = products.len() * vectors + lanes;
        let steps = Channels::room(sample.channels, self.channels);
        let room = if steps == 0 { 0 } else { weights.row_len() };
        let sizes = [
            steps,
            products.len() * room,
            padded_rows.len() * layout.row_stride + SLACK,
            2 * elements * vectors,
            elements * source_element,
            elements * sum_element,
        ];
        let transforms = self.f32.kernels.transforms[layout.tile / 4];
        with_scratch(sizes.iter().sum(), |mut scratch| {
            let [steps, compressed, padded, transformed, pixels, sums] =
                sizes.map(|size| scratch.split_off_mut(..size).expect("the sum of the sizes"));
            let channels = Channels::new(sample.channels, steps);
            padded.fill(0.0);
            for (i, pair) in channels.pairs().enumerate() {
                let halves = transformed.chunks_exact_mut(elements * vectors);
                for (channel, half) in pair.into_iter().zip(halves) {
                    let Some(channel) = channel else { continue };
                    self.transform(sample.plane(channel), blocks, &padded_rows, padded, half);
                }
                for block in 0..blocks.len() {
                    let half = |half: usize| {
                        transformed[(half * blocks.len() + block) * elements * lanes..].as_ptr()
                    };
                    let args = Pack {
                        first: half(0),
                        second: pair[1].map_or(std::ptr::null(), |_| half(1)),
                        vectors: elements,
                        target: pixels[i * vectors + block * lanes..].as_mut_ptr(),
                        step: source_element,
                    };
                    // SAFETY: `Kernels` are those of a detected instruction set. The n² vectors of
                    // the pair were written above, and the last of the target's ends in `pixels`.
                    unsafe { (self.kernels.pack)(&args) };
                }
            }
            for range in even_ranges(rows.len(), products.len()) {
                let rows = &sample.rows[rows.start + range.start..rows.start + range.end];
                let mut args = Products {
                    elements,
                    pairs,
                    source: pixels.as_ptr(),
                    source_element,
                    weights: [pixels.as_ptr(); MAX_ROWS],
                    weight_element: weights.pairs(),
                    target: sums.as_mut_ptr(),
                    target_element: sum_element,
                };
                for (slot, row) in rows.iter().enumerate() {
                    let row = sample.weight_row(*row as usize);
                    args.weights[slot] = if room == 0 {
                        weights.row(row).as_ptr()
                    } else {
                        let room = &mut compressed[slot * room..(slot + 1) * room];
                        weights.compress(self.kernels, row, &channels, room);
                        room.as_ptr()
                    };
                }
                // SAFETY: as above; a row's weights are n² runs of as many pairs.
                unsafe { products[rows.len() - 1](&args) };
                for (slot, row) in rows.iter().map(|row| *row as usize).enumerate() {
                    for (i, block) in blocks.iter().enumerate() {
                        let args = Output {
                            source: sums[slot * vectors + i * lanes..].as_ptr(),
                            element: sum_element,
                            block,
                            plane: target.start().wrapping_add(row * self.f32.out_plane),
                            residual: sample.epilogue.residual(row, self.f32.out_plane),
                            width: layout.out_size[1],
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

    /// Transforms the tiles of a channel in f32, to (blocks, n²) vectors. The padding of `padded`
    /// is 0.
    fn transform(
        &self,
        plane: &[f32],
        blocks: &[super::layout::Block],
        padded_rows: &Range<usize>,
        padded: &mut [f32],
        target: &mut [f32],
    ) {
        let Winograd { kernels, layout, .. } = &self.f32;
        let (inside, first_row) = layout.inside(padded_rows);
        let ([_, width], [_, left]) = (layout.in_size, layout.front);
        let rows = Rows {
            source: plane[first_row * width..].as_ptr(),
            target: padded[inside.start * layout.row_stride + left..].as_mut_ptr(),
            target_stride: layout.row_stride,
            rows: inside.len(),
            width,
        };
        // SAFETY: the instruction set was detected; `inside` are rows of the plane, and padded
        // rows have room for them and what is left and right.
        unsafe { (kernels.copy)(&rows) };
        let targets = target.chunks_exact_mut(layout.elements() * kernels.lanes);
        for (block, target) in blocks.iter().zip(targets) {
            let args = Input {
                plane: padded.as_ptr().wrapping_sub(padded_rows.start * layout.row_stride),
                row_stride: layout.row_stride,
                block,
                target: target.as_mut_ptr(),
                element: kernels.lanes,
            };
            // SAFETY: the instruction set was detected. The block's eights lie in `padded_rows`;
            // reading six floats beyond a row stays in `padded` thanks to `SLACK`. The target has
            // n² vectors.
            unsafe { kernels.transforms[layout.tile / 4][usize::from(block.adjacent)].0(&args) };
        }
    }
}
