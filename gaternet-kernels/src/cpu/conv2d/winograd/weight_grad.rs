//! The gradient of the weight in Winograd's domain.
//!
//! With `V = Bᵀ d B` of an input tile and `W = A y Aᵀ` of the output gradient's tile, a kernel's
//! gradient is `Gᵀ (Σ W ⊙ V) G`, summed over tiles and samples: n² multiplications for each tile
//! instead of 9·m².
//!
//! The lanes are channels, so that nothing is shuffled: both maps are stored channel-last,
//! transformed to (n², tiles, C) and (n², tiles, F), and multiplied by the register tile of
//! `weight_grad.rs`, whose pixels are the tiles here. Inactive filters and channels are stored as
//! zeros, not skipped. As there, samples are summed in a fixed number of chunks.

use std::ops::Range;

use rayon::prelude::*;

use super::kernels::{Kernels, Spread, SpreadFn};
use super::weights::Gradient;
use crate::cpu::conv2d::active::Active;
use crate::cpu::conv2d::channel_last::channel_last;
use crate::cpu::conv2d::image::Padded;
use crate::cpu::conv2d::tile::even_ranges;
use crate::cpu::conv2d::weight_grad::{CHUNKS, Kernels as Products, MAX_FILTERS, Tile};
use crate::cpu::elementwise::sum_parts;
use crate::cpu::isa::Isa;
use crate::cpu::scratch::{give, take, with_scratch};
use crate::dims::Conv2dDims;

/// The number of tiles whose products are summed in registers: as many as the second-level cache
/// holds.
const TILES: usize = 32;

/// Computes [`conv2d::backward_weight`](crate::cpu::conv2d::backward_weight) of slices that were
/// checked, with tiles of m = `tile`.
pub(in super::super) fn run(
    isa: Isa,
    tile: usize,
    dims: &Conv2dDims,
    active: Active<'_>,
    input: &[f32],
    grad_output: &[f32],
    grad_weight: &mut [f32],
) {
    if grad_weight.is_empty() {
        return;
    }
    let maps = Maps::new(isa, tile, dims);
    let samples = dims.batch().div_ceil(CHUNKS).max(1);
    let chunks = dims.batch().div_ceil(samples);
    let gradient = Gradient::new(tile, dims, maps.columns());
    let at_a_time = (TILES / maps.tiles().max(1)).max(1);
    let len = gradient.taps_len();
    let mut buffer = take((chunks + 1) * len);
    let (partials, taps) = buffer[..(chunks + 1) * len].split_at_mut(chunks * len);
    partials.par_chunks_mut(len).enumerate().for_each(|(chunk, partial)| {
        with_scratch(gradient.len() + maps.scratch_len(at_a_time), |scratch| {
            let (sums, scratch) = scratch.split_at_mut(gradient.len());
            sums.fill(0.0);
            let last = dims.batch().min((chunk + 1) * samples);
            for first in (chunk * samples..last).step_by(at_a_time) {
                let samples = first..last.min(first + at_a_time);
                maps.add(active, samples, input, grad_output, scratch, sums);
            }
            gradient.finish(isa, sums, partial);
        });
    });
    sum_parts(isa, partials, taps);
    gradient.in_order(taps, grad_weight);
    give(buffer);
}

/// The input and the output gradient of a sample, padded to whole tiles.
struct Maps {
    isa: Isa,
    kernels: &'static Kernels,
    products: &'static Products,
    tile: usize,
    input: Padded,
    grad: Padded,
    /// The rows and columns of tiles.
    grid: [usize; 2],
}

impl Maps {
    fn new(isa: Isa, tile: usize, dims: &Conv2dDims) -> Maps {
        let grid = dims.out_size().map(|side| side.div_ceil(tile));
        let input = Padded {
            channels: dims.in_channels(),
            size: dims.in_size(),
            front: dims.padding(),
            width: grid[1] * tile + 2,
        };
        let grad = Padded {
            channels: dims.out_channels(),
            size: dims.out_size(),
            front: [0, 0],
            width: grid[1] * tile,
        };
        let (kernels, products) = (&isa.kernels().winograd, &isa.kernels().weight_grad);
        Maps { isa, kernels, products, tile, input, grad, grid }
    }

    fn tiles(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Returns the channels C in whole vectors.
    fn columns(&self) -> usize {
        self.input.channels.next_multiple_of(self.kernels.lanes)
    }

    fn rows(&self) -> usize {
        self.grad.channels.next_multiple_of(self.kernels.lanes)
    }

    /// Returns the floats of pixels, of transformed inputs and of transformed gradients of some
    /// samples, and the floats from one element to the next of the latter two.
    fn sizes(&self, samples: usize) -> ([usize; 3], [usize; 2]) {
        let elements = (self.tile + 2) * (self.tile + 2);
        // The last vector of a pixel may reach beyond its channels.
        let pixels_len =
            |map: Padded, rows: usize| rows * map.width * map.channels + self.kernels.lanes;
        let input_len = pixels_len(self.input, self.grid[0] * self.tile + 2);
        let grad_len = pixels_len(self.grad, self.grid[0] * self.tile);
        // A vector more than there is keeps the elements of a tile out of each other's cache sets.
        let between = [self.columns(), self.rows()]
            .map(|width| samples * self.tiles() * width + self.kernels.lanes);
        ([input_len.max(grad_len), elements * between[0], elements * between[1]], between)
    }

    /// Returns the floats of scratch that [`add`](Self::add) needs.
    fn scratch_len(&self, samples: usize) -> usize {
        self.sizes(samples).0.iter().sum()
    }

    /// Adds the products of some samples to `sums` (n², F, C in whole vectors).
    fn add(
        &self,
        active: Active<'_>,
        samples: Range<usize>,
        input: &[f32],
        grad_output: &[f32],
        scratch: &mut [f32],
        sums: &mut [f32],
    ) {
        let tiles = samples.len() * self.tiles();
        let ([pixels_len, v_len, w_len], [v_element, w_element]) = self.sizes(samples.len());
        let (pixels, scratch) = scratch.split_at_mut(pixels_len);
        let (v, w) = scratch[..v_len + w_len].split_at_mut(v_len);
        let (spread_input, spread_grad) = self.kernels.by_channel[self.tile / 4];
        for (i, n) in samples.enumerate() {
            let first = i * self.tiles();
            let row = |map: Padded| {
                let len = map.channels * map.size[0] * map.size[1];
                n * len..(n + 1) * len
            };
            let channels = active.channels.map(|active| active.row(n));
            let map = &mut *pixels;
            channel_last(self.isa, self.input, channels, &input[row(self.input)], map);
            let v = &mut v[first * self.columns()..];
            self.spread(spread_input, self.input, map, v, v_element);

            let filters = active.filters.map(|active| active.row(n));
            let map = &mut *pixels;
            channel_last(self.isa, self.grad, filters, &grad_output[row(self.grad)], map);
            let w = &mut w[first * self.rows()..];
            self.spread(spread_grad, self.grad, map, w, w_element);
        }
        for element in 0..(self.tile + 2) * (self.tile + 2) {
            let v = &v[element * v_element..][..tiles * self.columns()];
            let w = &w[element * w_element..][..tiles * self.rows()];
            let len = self.grad.channels * self.columns();
            self.multiply(tiles, v, w, &mut sums[element * len..][..len]);
        }
    }

    /// Transforms all tiles of a padded map, channel-last, to (n², tiles, channels in whole
    /// vectors).
    fn spread(
        &self,
        kernel: SpreadFn,
        map: Padded,
        pixels: &[f32],
        target: &mut [f32],
        element: usize,
    ) {
        let width = map.channels.next_multiple_of(self.kernels.lanes);
        for tile in 0..self.tiles() {
            let (y, x) = (tile / self.grid[1] * self.tile, tile % self.grid[1] * self.tile);
            for channel in (0..map.channels).step_by(self.kernels.lanes) {
                let args = Spread {
                    pixels: pixels[(y * map.width + x) * map.channels + channel..].as_ptr(),
                    row_stride: map.width * map.channels,
                    pixel_stride: map.channels,
                    target: target[tile * width + channel..].as_mut_ptr(),
                    element,
                };
                // SAFETY: the instruction set was detected; the map is padded to whole tiles, and
                // a vector longer than its last pixel; the last element's tiles end within
                // `target`.
                unsafe { kernel(&args) };
            }
        }
    }

    /// Computes `sums[f, c] += Σ_tile w[tile, f] · v[tile, c]`.
    fn multiply(&self, tiles: usize, v: &[f32], w: &[f32], sums: &mut [f32]) {
        let (columns, lanes) = (self.columns(), self.kernels.lanes);
        let sums = sums.as_mut_ptr();
        for filters in even_ranges(self.grad.channels, MAX_FILTERS) {
            for vectors in even_ranges(columns / lanes, self.products.max_vectors) {
                let mut tile = Tile {
                    pixels: v[vectors.start * lanes..].as_ptr(),
                    row_stride: 0,
                    pixel_stride: columns,
                    size: [1, tiles],
                    grads: [w.as_ptr(); MAX_FILTERS],
                    grad_stride: self.rows(),
                    sums: [sums; MAX_FILTERS],
                };
                for (slot, f) in filters.clone().enumerate() {
                    tile.grads[slot] = w[f..].as_ptr();
                    tile.sums[slot] = sums.wrapping_add(f * columns + vectors.start * lanes);
                }
                // SAFETY: the instruction set was detected; `v` is (tiles, C), `w` (tiles, F) and
                // `sums` (F, C), which is borrowed mutably.
                unsafe { self.products.kernel(filters.len(), vectors.len())(&tile) };
            }
        }
    }
}
