//! F(4x4, 3x3) on small maps, where the tiles of a map do not fill a vector: the lanes are elements
//! of a tile instead.
//!
//! Four tiles (4x4 pixels each: an 8x8 map) have 4·36 elements, 9 full vectors of 16. In 8 of them
//! the lanes are 16 elements of one tile. A weight operand is then a whole vector, but one for four
//! products, so that a register tile of F rows x 4 tiles reads less than one vector for each
//! product. The elements that remain, four of each tile, make up the ninth vector.
//!
//! Weights take a vector here and a number where the lanes are tiles, and those of many filters
//! outgrow the caches. So several samples are computed together, by blocks of rows and channels
//! whose weights stay in the second-level cache. A sum is kept in memory between blocks, and its
//! order is that of the channels, whatever the blocks.

mod kernels;
mod order;
mod weights;

use std::ops::Range;

use rayon::prelude::*;

use super::kernels::{Kernels as Maps, Rows};
use super::layout::{Layout, grid};
use super::{SLACK, SharedSlice};
use crate::cpu::conv2d::sample::Sample;
use crate::cpu::conv2d::tile::{even_range, even_ranges};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::with_scratch;
use crate::dims::Conv2dDims;
pub(crate) use kernels::{Input, Kernels, MAX_ROWS, Output, Products, ProductsFn, element_kernels};
use order::{FLOATS, QUADS};
pub(crate) use order::{PAIRS, TILES};
pub(in super::super) use weights::Weights;
use weights::line;

/// The bytes of weights that a sample alone finds in the second-level cache.
const CACHED: usize = 640 << 10;
/// The number of samples that use the same weights while these are cached.
const SAMPLES: usize = 8;
/// The rows and channels whose weights are cached together.
const ROWS: usize = 24;
const CHANNELS: usize = 128;

/// A convolution, or the gradient of its input, of small maps.
pub(in super::super) struct Elements {
    maps: &'static Maps,
    kernels: &'static Kernels,
    layout: Layout,
    out_plane: usize,
}

impl Elements {
    /// Returns whether it takes fewer products than lanes that are tiles.
    pub(in super::super) fn suits(out_size: [usize; 2]) -> bool {
        let [rows, columns] = grid(4, out_size);
        rows * columns < 16
    }

    /// Returns whether the weights of a convolution on small maps are in a cache when they are
    /// needed.
    pub(in super::super) fn pays(dims: &Conv2dDims) -> bool {
        let floats = dims.out_channels() * dims.in_channels() * QUADS * 4;
        floats * size_of::<f32>() <= CACHED || dims.batch() >= SAMPLES
    }

    /// Prepares a convolution whose kernel is 3x3, stride 1 and padding at most 2.
    pub(in super::super) fn forward(isa: Isa, dims: &Conv2dDims) -> Elements {
        Elements::new(isa, Layout::forward(dims, 4, TILES), dims.out_plane())
    }

    pub(in super::super) fn backward_input(isa: Isa, dims: &Conv2dDims) -> Elements {
        Elements::new(isa, Layout::backward_input(dims, 4, TILES), dims.in_plane())
    }

    fn new(isa: Isa, layout: Layout, out_plane: usize) -> Elements {
        let kernels = isa.kernels();
        Elements { maps: &kernels.winograd, kernels: &kernels.elements, layout, out_plane }
    }

    /// Returns the number of samples that are best computed together, out of `count` for each
    /// thread.
    pub(in super::super) fn together(weights: &Weights, count: usize) -> usize {
        if weights.bytes() <= CACHED { 1 } else { count.clamp(1, SAMPLES) }
    }

    /// Computes the active rows of `count` samples of `target_len` floats each, on this thread.
    pub(in super::super) fn samples<'a>(
        &self,
        weights: &Weights,
        count: usize,
        sample: impl Fn(usize) -> Sample<'a>,
        target_len: usize,
        target: &mut [f32],
    ) {
        self.group(weights, count, sample, target_len, &SharedSlice::new(target));
    }

    /// Computes the active rows of a sample on all threads, each of which transforms all pixels.
    pub(in super::super) fn split(
        &self,
        weights: &Weights,
        sample: &Sample<'_>,
        target: &mut [f32],
    ) {
        let (len, rows) = (target.len(), sample.rows.len());
        let target = &SharedSlice::new(target);
        let parts = rows.div_ceil(rows.div_ceil(rayon::current_num_threads()).max(MAX_ROWS));
        (0..parts).into_par_iter().for_each(|part| {
            let rows = &sample.rows[even_range(rows, parts, part)];
            self.group(weights, 1, |_| Sample { rows, ..*sample }, len, target);
        });
    }

    /// Computes `count` samples of `target_len` floats each.
    fn group<'a>(
        &self,
        weights: &Weights,
        count: usize,
        sample: impl Fn(usize) -> Sample<'a>,
        target_len: usize,
        target: &SharedSlice<'_>,
    ) {
        let (blocks, channels) = (&self.layout.blocks, weights.channels);
        let rows = target_len / self.out_plane;
        let padded_rows = blocks.last().map_or(0, |block| block.rows.end);
        let padded_len = padded_rows * self.layout.row_stride + SLACK;
        // The lengths for a block of a sample.
        let [pixels_len, sums_len] = [channels * FLOATS, rows * FLOATS];
        let len = count * blocks.len() * (pixels_len + sums_len) + padded_len + SLACK;
        with_scratch(len, |scratch| {
            let (_, scratch) = scratch.split_at_mut(line(scratch));
            let (pixels, scratch) = scratch.split_at_mut(count * blocks.len() * pixels_len);
            let (sums, padded) = scratch.split_at_mut(count * blocks.len() * sums_len);
            let padded = &mut padded[..padded_len];
            padded.fill(0.0);
            let pixels_of = |n: usize| n * blocks.len() * pixels_len;
            for n in 0..count {
                self.spread(
                    weights,
                    &sample(n),
                    padded,
                    &mut pixels[pixels_of(n)..pixels_of(n + 1)],
                );
            }
            for part in 0..weights.parts() {
                for channels in ranges(channels, CHANNELS) {
                    for rows in ranges(rows, ROWS) {
                        for n in 0..count {
                            let sample = &sample(n);
                            for block in n * blocks.len()..(n + 1) * blocks.len() {
                                let pixels = &pixels[block * pixels_len..][..pixels_len];
                                let sums = &mut sums[block * sums_len..][..sums_len];
                                self.multiply(
                                    weights,
                                    sample,
                                    part,
                                    [&channels, &rows],
                                    pixels,
                                    sums,
                                );
                            }
                        }
                    }
                }
            }
            for n in 0..count {
                let sums = &sums[n * blocks.len() * sums_len..][..blocks.len() * sums_len];
                self.gather(&sample(n), sums, target.start().wrapping_add(n * target_len));
            }
        });
    }

    /// Transforms active channels to `pixels`: for each block parts of (channels, tiles, lanes),
    /// then (channels, tiles, 4).
    fn spread(
        &self,
        weights: &Weights,
        sample: &Sample<'_>,
        padded: &mut [f32],
        pixels: &mut [f32],
    ) {
        let layout = &self.layout;
        let row_stride = layout.row_stride;
        let (inside, first_row) = layout.inside(&(0..(padded.len() - SLACK) / row_stride));
        let ([_, width], [_, left]) = (layout.in_size, layout.front);
        let block_len = weights.channels * FLOATS;
        let part = weights.channels * TILES * self.kernels.lanes;
        for channel in sample.channels.iter().map(|channel| *channel as usize) {
            let rows = Rows {
                source: sample.plane(channel)[first_row * width..].as_ptr(),
                target: padded[inside.start * row_stride + left..].as_mut_ptr(),
                target_stride: row_stride,
                rows: inside.len(),
                width,
            };
            // SAFETY: the instruction set was detected; `inside` are rows of the plane, and
            // padded rows have room for them and what is left and right.
            unsafe { (self.maps.copy)(&rows) };
            for (block, pixels) in layout.blocks.iter().zip(pixels.chunks_exact_mut(block_len)) {
                let (parts, last) = pixels.split_at_mut((weights.parts() - 1) * part);
                let args = Input {
                    plane: padded.as_ptr(),
                    row_stride,
                    block,
                    target: parts[channel * TILES * self.kernels.lanes..].as_mut_ptr(),
                    part,
                    last: last[channel * TILES * 4..].as_mut_ptr(),
                };
                // SAFETY: the instruction set was detected. The block's eights lie in `padded`,
                // and so do six floats beyond thanks to `SLACK`. Each part has room for this
                // channel.
                unsafe { (self.kernels.input)(&args) };
            }
        }
    }

    /// Computes one part of the sums of a block (active rows, `FLOATS`), over some channels, for
    /// some rows.
    fn multiply(
        &self,
        weights: &Weights,
        sample: &Sample<'_>,
        part: usize,
        [channels, rows]: [&Range<usize>; 2],
        pixels: &[f32],
        sums: &mut [f32],
    ) {
        let resume = channels.start > 0;
        let active = within(sample.rows, rows);
        let channels = &sample.channels[within(sample.channels, channels)];
        if resume && channels.is_empty() {
            return;
        }
        let last = part + 1 == weights.parts();
        let before = part * TILES * self.kernels.lanes;
        for range in even_ranges(active.len(), self.kernels.products.len()) {
            let range = active.start + range.start..active.start + range.end;
            let mut args = Products {
                channels,
                source: pixels[before * weights.channels..].as_ptr(),
                weights: [std::ptr::null(); MAX_ROWS],
                target: sums[range.start * FLOATS + before..].as_mut_ptr(),
                target_row: FLOATS,
                resume,
            };
            for (slot, row) in sample.rows[range.clone()].iter().enumerate() {
                let row = sample.weight_row(*row as usize);
                args.weights[slot] = weights.row(part, row).as_ptr();
            }
            let products = self.kernels.products[range.len() - 1][usize::from(last)];
            // SAFETY: the instruction set was detected; pixels, weights and sums are those of one
            // part, laid out as the kernel expects, and have all channels and rows.
            unsafe { products(&args) };
        }
    }

    /// Computes the output of the active rows of a sample from its sums.
    fn gather(&self, sample: &Sample<'_>, sums: &[f32], target: *mut f32) {
        let blocks = &self.layout.blocks;
        for (i, row) in sample.rows.iter().map(|row| *row as usize).enumerate() {
            for (block, sums) in blocks.iter().zip(sums.chunks_exact(sums.len() / blocks.len())) {
                let args = Output {
                    source: sums[i * FLOATS..(i + 1) * FLOATS].as_ptr(),
                    block,
                    plane: target.wrapping_add(row * self.out_plane),
                    residual: sample.epilogue.residual(row, self.out_plane),
                    width: self.layout.out_size[1],
                    bias: sample.epilogue.bias(row),
                    relu: sample.epilogue.relu,
                };
                // SAFETY: the instruction set was detected. A block's targets are on the map, and
                // no other block, row or task has them.
                unsafe { (self.kernels.output)(&args) };
            }
        }
    }
}

/// Returns `0..total` in steps of `step`, at least one range.
fn ranges(total: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total.max(1)).step_by(step).map(move |first| first..total.min(first + step))
}

/// Returns the places in an ascending list of the numbers in `range`.
fn within(list: &[u32], range: &Range<usize>) -> Range<usize> {
    let below = |end: usize| list.partition_point(|number| (*number as usize) < end);
    below(range.start)..below(range.end)
}
