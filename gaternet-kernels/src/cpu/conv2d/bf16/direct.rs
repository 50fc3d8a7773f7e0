//! The direct algorithm, for any kernel and stride: pixels of active channels are paired, with
//! their padding, then summed by register tiles.

use std::ops::Range;
use std::ptr::null;

use super::channels::Channels;
use super::kernels::{Kernels, Pack};
use super::weights::Weights;
use crate::cpu::conv2d::plan::{Plan, Tap};
use crate::cpu::conv2d::sample::Sample;
use crate::cpu::conv2d::tile::{MAX_ROWS, Tile, Tiles, even_ranges, share_out};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::with_scratch;
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// The pairs of pixels to work on at a time where the source needs no padding: a part of the
/// second-level cache.
const CACHED: usize = 64 * 1024;

/// A convolution, computed by its definition.
pub(in super::super) struct Direct {
    kernels: &'static Kernels,
    tiles: &'static Tiles,
    plan: Plan,
    /// The taps of the plan, with the weights of a tap one after the other.
    taps: Vec<Tap>,
    /// The numbers 0, 1, ..., the list of all pairs of channels.
    every: Vec<u32>,
}

impl Direct {
    pub(in super::super) fn forward(isa: Isa, dims: &Conv2dDims) -> Direct {
        let (kernels, tiles) = (&isa.kernels().bf16, &isa.kernels().bf16_tiles);
        let plan = Plan::forward(dims, tiles.lanes);
        let pairs = dims.in_channels().div_ceil(2);
        let of_plan = plan.phases.iter().flat_map(|phase| &phase.taps);
        let taps = of_plan.map(|tap| Tap { weight: tap.weight * pairs, ..*tap }).collect();
        let every = (0..pairs as u32).collect();
        Direct { kernels, tiles, plan, taps, every }
    }

    /// Lays out `weight` (F, C, KH, KW).
    pub(in super::super) fn weights(dims: &Conv2dDims, weight: &[f32]) -> Weights {
        let (channels, taps) = (dims.in_channels(), dims.taps());
        Weights::new([dims.out_channels(), channels, taps], |row, channel, tap| {
            weight[(row * channels + channel) * taps + tap]
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
        for vectors in even_ranges(self.vectors(), self.most_vectors(1)) {
            self.part(sample, weights, vectors, 0..sample.rows.len(), target);
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
        let most = self.most_vectors(rayon::current_num_threads());
        // Few pixels, or some with padding: the rows are shared out, and each thread pairs all
        // pixels.
        share_out(self.vectors(), most, sample.rows.len(), MAX_ROWS, |vectors, rows| {
            self.part(sample, weights, vectors, rows, target);
        });
    }

    fn vectors(&self) -> usize {
        self.plan.phases.iter().map(|phase| phase.vectors.len()).sum()
    }

    /// Returns the most vectors of pixels to work on together, so that there are at least `least`
    /// groups if all tiles can be of a good size then.
    fn most_vectors(&self, least: usize) -> usize {
        if !self.plan.in_place {
            return self.vectors().max(1);
        }
        let vector = self.every.len() * self.tiles.lanes;
        let most = (CACHED / vector).max(MAX_ROWS);
        most.min(self.vectors().div_ceil(least).max(MAX_ROWS))
    }

    /// Computes some vectors of pixels of some of the sample's active rows.
    fn part(
        &self,
        sample: &Sample<'_>,
        weights: &Weights,
        vectors: Range<usize>,
        rows: Range<usize>,
        target: &SharedSlice<'_>,
    ) {
        let (plan, lanes) = (&self.plan, self.tiles.lanes);
        let (channels, rows) = (sample.channels, &sample.rows[rows]);
        let Some(phase) = plan.phases.first() else { return };
        let vectors = &phase.vectors[vectors];
        let [Some(first), Some(last)] = [vectors.first(), vectors.last()] else { return };
        // Pixels that are paired: from `start` on, `len` of each channel.
        let (start, len) = match plan.in_place {
            true => (first.source, last.source + lanes - first.source),
            false => (0, plan.padding.channel_stride.next_multiple_of(lanes)),
        };
        // A vector more than there is keeps the pixels of a tile out of each other's cache sets.
        let stride = len.next_multiple_of(lanes) + lanes;
        let steps = Channels::room(channels, plan.channels);
        let room = if steps == 0 { 0 } else { weights.row_len() };
        let planes = if plan.in_place { 0 } else { 2 * len };
        let pixels = channels.len().div_ceil(2) * stride + plan.reach(lanes);
        with_scratch(steps + rows.len() * room + planes + pixels, |scratch| {
            let (steps, scratch) = scratch.split_at_mut(steps);
            let (compressed, scratch) = scratch.split_at_mut(rows.len() * room);
            let (planes, pixels) = scratch.split_at_mut(planes);
            let channels = Channels::new(channels, steps);
            for (pair, target) in channels.pairs().zip(pixels.chunks_exact_mut(stride)) {
                self.pack(sample, pair, start..start + len, planes, target);
            }
            if room > 0 {
                for (row, room) in rows.iter().zip(compressed.chunks_exact_mut(room)) {
                    let row = sample.weight_row(*row as usize);
                    weights.compress(self.kernels, row, &channels, room);
                }
            }
            let weights_of = |slot: usize, row: usize| match room {
                0 => weights.row(sample.weight_row(row)).as_ptr(),
                room => compressed[slot * room..].as_ptr(),
            };
            let (tile_rows, tile_vectors) = self.tiles.choose(rows.len(), vectors.len());
            for vectors in even_ranges(vectors.len(), tile_vectors).map(|range| &vectors[range]) {
                for range in even_ranges(rows.len(), tile_rows) {
                    let mut tile = Tile {
                        source: pixels.as_ptr().wrapping_sub(start),
                        channels: &self.every[..channels.list.len().div_ceil(2)],
                        channel_stride: stride,
                        taps: &self.taps,
                        weights: [pixels.as_ptr(); MAX_ROWS],
                        weight_channel: 1,
                        vectors,
                        targets: [target.start(); MAX_ROWS],
                        target_step: 1,
                        biases: [0.0; MAX_ROWS],
                        residuals: [null(); MAX_ROWS],
                        relu: sample.epilogue.relu,
                    };
                    for (slot, at) in range.clone().enumerate() {
                        let row = rows[at] as usize;
                        tile.weights[slot] = weights_of(at, row);
                        tile.targets[slot] = target.start().wrapping_add(row * sample.out_plane);
                        tile.biases[slot] = sample.epilogue.bias(row);
                        tile.residuals[slot] = sample.epilogue.residual(row, sample.out_plane);
                    }
                    let kernel = self.tiles.kernel(range.len(), vectors.len());
                    // SAFETY: `Tiles` are those of a detected instruction set. `pixels` has a
                    // stride for each pair, and what the furthest tap and vector reads beyond the
                    // last one's start. A pair's and tap's weights lie inside a row. The masks
                    // select pixels of the rows' planes, which `target` and `residual` hold, and
                    // which no other task or tile writes, or it writes the same.
                    unsafe { kernel(&tile) };
                }
            }
        });
    }

    /// Writes the pixels of a pair of channels. `planes` has room for both in padded form.
    fn pack(
        &self,
        sample: &Sample<'_>,
        pair: [Option<usize>; 2],
        pixels: Range<usize>,
        planes: &mut [f32],
        target: &mut [f32],
    ) {
        let (padding, lanes, len) = (&self.plan.padding, self.tiles.lanes, pixels.len());
        let mut sources = [None; 2];
        if self.plan.in_place {
            sources = pair.map(|channel| Some(&sample.plane(channel?)[pixels.clone()]));
        } else {
            for ((channel, plane), source) in
                pair.into_iter().zip(planes.chunks_exact_mut(len)).zip(&mut sources)
            {
                let Some(channel) = channel else { continue };
                let padded = &mut plane[..padding.channel_stride];
                padding.fill(self.tiles.copy, sample.plane(channel), padded);
                *source = Some(&*plane);
            }
        }
        let mut pack = |from: usize, vectors: usize| {
            let source = |source: Option<&[f32]>| source.map_or(null(), |x| x[from..].as_ptr());
            let [first, second] = sources.map(source);
            let target = target[from..].as_mut_ptr();
            let args = Pack { first, second, vectors, target, step: lanes };
            // SAFETY: `Kernels` are those of a detected instruction set; as many vectors lie
            // between `from` and `len`, the length of the sources and at most that of the target.
            unsafe { (self.kernels.pack)(&args) };
        };
        pack(0, len / lanes);
        if !len.is_multiple_of(lanes) {
            pack(len - lanes, 1);
        }
    }
}
