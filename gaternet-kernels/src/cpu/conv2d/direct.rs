//! The direct algorithm, for any kernel and stride: planes are padded, then register tiles go over
//! them.

use std::ops::Range;

use rayon::prelude::*;

use super::plan::{Phase, PixelVector, Plan, Tap};
use super::sample::Sample;
use super::tile::{MAX_ROWS, Tile, Tiles, even_range, even_ranges};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::{give, take, with_scratch};
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// A convolution, or the gradient of its input, computed by its definition.
pub(super) struct Direct {
    tiles: &'static Tiles,
    panel_tiles: &'static Tiles,
    plan: Plan,
}

/// The rows for which copying their pixels pays.
const LEAST_ROWS: usize = 32;
/// About the floats of all panels, 128 KiB, which L2 holds.
const PANEL: usize = 32 << 10;

impl Direct {
    pub(super) fn forward(isa: Isa, dims: &Conv2dDims) -> Direct {
        Direct::new(isa, |lanes| Plan::forward(dims, lanes))
    }

    pub(super) fn backward_input(isa: Isa, dims: &Conv2dDims) -> Direct {
        Direct::new(isa, |lanes| Plan::backward_input(dims, lanes))
    }

    fn new(isa: Isa, plan: impl FnOnce(usize) -> Plan) -> Direct {
        let kernels = isa.kernels();
        let (tiles, panel_tiles) = (&kernels.tiles, &kernels.panel_tiles);
        Direct { tiles, panel_tiles, plan: plan(tiles.lanes) }
    }

    /// Computes the active rows of a sample, on this thread.
    pub(super) fn sample(&self, sample: &Sample<'_>, weight: &[f32], target: &mut [f32]) {
        self.clear(sample, target);
        let target = &SharedSlice::new(target);
        let len = self.padded_len();
        with_scratch(len + self.panel_len(), |scratch| {
            let (padded, panel) = scratch.split_at_mut(len);
            let padded = self.pad(sample, padded);
            self.write(&self.output(sample, weight, sample.rows, target), padded, panel);
        });
    }

    /// Computes the active rows of a sample on all threads, which share out the rows, or the pixels
    /// if these are copied for all rows.
    pub(super) fn split(&self, sample: &Sample<'_>, weight: &[f32], target: &mut [f32]) {
        self.clear(sample, target);
        let target = &SharedSlice::new(target);
        let rows = sample.rows;
        let parts = 2 * rayon::current_num_threads();
        let len = self.padded_len();
        let mut shared = take(len);
        let padded = self.pad(sample, &mut shared[..len]);
        match &self.plan.phases[..] {
            [phase] if by_panels(phase, rows) => {
                let output = self.output(sample, weight, rows, target);
                // The last two vectors may have pixels in common.
                let vectors = phase.vectors.len() - 1;
                let parts = parts.min(vectors).max(1);
                (0..parts).into_par_iter().for_each(|part| {
                    let Range { start, end } = even_range(vectors, parts, part);
                    let vectors = &phase.vectors[start..end + usize::from(part + 1 == parts)];
                    with_scratch(self.panel_len(), |panel| {
                        self.write_by_panels(&output, padded, &phase.taps[0], vectors, panel);
                    });
                });
            }
            _ => {
                let parts = rows.len().div_ceil(rows.len().div_ceil(parts).max(MAX_ROWS));
                (0..parts).into_par_iter().for_each(|part| {
                    let rows = &rows[even_range(rows.len(), parts, part)];
                    let output = self.output(sample, weight, rows, target);
                    with_scratch(self.panel_len(), |panel| self.write(&output, padded, panel));
                });
            }
        }
        give(shared);
    }

    /// Sets the pixels to 0 that no tap reaches: some of the gradient of the input where the kernel
    /// is smaller than its stride.
    fn clear(&self, sample: &Sample<'_>, target: &mut [f32]) {
        if self.plan.phases.iter().any(|phase| phase.taps.is_empty()) {
            for row in sample.rows.iter().map(|row| *row as usize) {
                target[row * sample.out_plane..(row + 1) * sample.out_plane].fill(0.0);
            }
        }
    }

    /// Returns the floats of the padded channels: 0 if they are read where they are.
    fn padded_len(&self) -> usize {
        if self.plan.in_place { 0 } else { self.plan.scratch_len(self.tiles.lanes) }
    }

    /// Returns the active channels in padded form, for which there are
    /// [`padded_len`](Self::padded_len) floats.
    fn pad<'a>(&self, sample: &Sample<'a>, padded: &'a mut [f32]) -> &'a [f32] {
        if self.plan.in_place {
            return sample.source;
        }
        let padding = &self.plan.padding;
        for channel in sample.channels.iter().map(|channel| *channel as usize) {
            let start = channel * padding.channel_stride;
            let padded = &mut padded[start..start + padding.channel_stride];
            padding.fill(self.tiles.copy, sample.plane(channel), padded);
        }
        padded
    }

    fn output<'a>(
        &'a self,
        sample: &'a Sample<'a>,
        weight: &'a [f32],
        rows: &'a [u32],
        target: &'a SharedSlice<'a>,
    ) -> Output<'a> {
        Output { sample, weight, plan: &self.plan, rows, target }
    }

    /// Computes the rows of `output`.
    fn write(&self, output: &Output<'_>, padded: &[f32], panel: &mut [f32]) {
        let channel_stride = self.plan.padding.channel_stride;
        for phase in self.plan.phases.iter().filter(|phase| !phase.taps.is_empty()) {
            if by_panels(phase, output.rows) {
                self.write_by_panels(output, padded, &phase.taps[0], &phase.vectors, panel);
                continue;
            }
            let tile = self.tiles.choose(output.rows.len(), phase.vectors.len());
            // Pixels outside, rows inside: the pixels of all channels stay in L1 while weights
            // stream.
            for vectors in even_ranges(phase.vectors.len(), tile.1) {
                let source = Source {
                    data: padded,
                    channel_stride,
                    taps: &phase.taps,
                    vectors: &phase.vectors[vectors],
                };
                // SAFETY: `padded` has `scratch_len` floats, computed as the furthest that any
                // channel, tap and vector reads, or it is the source, whose planes no vector
                // leaves. Tasks have their own rows.
                unsafe { output.write(self.tiles, tile.0, &source) };
            }
        }
    }

    /// Computes some pixels of rows whose kernel has one tap. The pixels of a tile are on a page of
    /// each channel, more pages than a processor has translations at hand for, so those of some
    /// tiles are copied side by side before the rows go over them.
    fn write_by_panels(
        &self,
        output: &Output<'_>,
        padded: &[f32],
        tap: &Tap,
        vectors: &[PixelVector],
        panel: &mut [f32],
    ) {
        let tiles = self.panel_tiles;
        let (tile_rows, tile_vectors) = tiles.choose(output.rows.len(), vectors.len());
        let count = vectors.len().div_ceil(tile_vectors);
        let tile_len = tile_vectors * tiles.lanes;
        let most = (self.longest_panel() / tile_len).min(count);
        let channel_stride = odd_lines(most * tile_len);
        for group in even_ranges(count, most) {
            let tile = |tile: usize| even_range(vectors.len(), count, tile);
            let first = tile(group.start).start;
            let together = &vectors[first..tile(group.end - 1).end];
            for channel in output.sample.channels.iter().map(|channel| *channel as usize) {
                let pixels = &padded[channel * self.plan.padding.channel_stride + tap.source..];
                let panel = &mut panel[channel * channel_stride..];
                pack(tiles, together, pixels, &mut panel[..together.len() * tiles.lanes]);
            }
            for range in group.map(tile) {
                let source = Source {
                    data: &panel[(range.start - first) * tiles.lanes..],
                    channel_stride,
                    taps: std::slice::from_ref(tap),
                    vectors: &vectors[range],
                };
                // SAFETY: a channel has `channel_stride` floats in the panel, a vector its lanes,
                // one after the other as the kernels read them wherever they and the tap come from.
                // Tasks have their own rows or pixels.
                unsafe { output.write(tiles, tile_rows, &source) };
            }
        }
    }

    /// Returns the floats of the panels, whatever is active: 0 without a kernel of one tap.
    fn panel_len(&self) -> usize {
        match self.plan.phases.iter().any(|phase| phase.taps.len() == 1) {
            true => self.plan.channels * odd_lines(self.longest_panel()),
            false => 0,
        }
    }

    /// Returns the most floats of a channel that are copied at once, those of one tile at least.
    fn longest_panel(&self) -> usize {
        let widest = self.panel_tiles.max_rows.len() * self.panel_tiles.lanes;
        (PANEL / self.plan.channels.max(1)).max(widest)
    }
}

/// Returns the floats of the least odd number of cache lines that hold `len`: rows at such
/// distances are in different sets of a cache.
fn odd_lines(len: usize) -> usize {
    const LINE: usize = 16;
    (len.div_ceil(LINE) | 1) * LINE
}

/// Copies the pixels of some vectors in a channel side by side.
fn pack(tiles: &Tiles, vectors: &[PixelVector], pixels: &[f32], to: &mut [f32]) {
    let first = vectors[0].source;
    let last = vectors[vectors.len() - 1].source + tiles.lanes;
    let run = if last - first == to.len() { to.len() } else { tiles.lanes };
    for (vector, to) in vectors.iter().zip(to.chunks_exact_mut(run)) {
        (tiles.pack)(to, &pixels[vector.source..vector.source + run]);
    }
}

/// Returns whether the pixels of a phase are copied into panels before rows go over them.
fn by_panels(phase: &Phase, rows: &[u32]) -> bool {
    phase.taps.len() == 1 && !phase.vectors.is_empty() && rows.len() >= LEAST_ROWS
}

/// Planes that tiles read.
struct Source<'a> {
    data: &'a [f32],
    channel_stride: usize,
    taps: &'a [Tap],
    vectors: &'a [PixelVector],
}

/// The rows of an output that a task computes.
struct Output<'a> {
    sample: &'a Sample<'a>,
    weight: &'a [f32],
    plan: &'a Plan,
    rows: &'a [u32],
    target: &'a SharedSlice<'a>,
}

impl Output<'_> {
    /// Writes the rows' pixels of some vectors, which fill a tile at most.
    ///
    /// # Safety
    /// `source` holds what the active channels and its taps and vectors read, laid out as the
    /// kernels of `tiles` want it. Nothing else accesses these pixels of the rows meanwhile.
    unsafe fn write(&self, tiles: &Tiles, tile_rows: usize, source: &Source<'_>) {
        let Output { sample, weight, plan, target, .. } = *self;
        for range in even_ranges(self.rows.len(), tile_rows) {
            let rows = &self.rows[range];
            let mut tile = Tile {
                source: source.data.as_ptr(),
                channels: sample.channels,
                channel_stride: source.channel_stride,
                taps: source.taps,
                weights: [weight.as_ptr(); MAX_ROWS],
                weight_channel: plan.weight_channel,
                vectors: source.vectors,
                targets: [target.start(); MAX_ROWS],
                target_step: plan.target_step,
                biases: [0.0; MAX_ROWS],
                residuals: [std::ptr::null(); MAX_ROWS],
                relu: sample.epilogue.relu,
            };
            for (slot, row) in rows.iter().map(|row| *row as usize).enumerate() {
                tile.weights[slot] = weight[sample.weight_row(row) * plan.weight_row..].as_ptr();
                tile.targets[slot] = target.start().wrapping_add(row * sample.out_plane);
                tile.biases[slot] = sample.epilogue.bias(row);
                tile.residuals[slot] = sample.epilogue.residual(row, sample.out_plane);
            }
            let kernel = tiles.kernel(rows.len(), source.vectors.len());
            // SAFETY: `Tiles` are those of a detected instruction set. A row's and channel's
            // weights lie inside (F, C, KH, KW), whose length was checked. The masks select pixels
            // of the rows' planes, which `target` and `residual` hold; the rest is the caller's.
            unsafe { kernel(&tile) };
        }
    }
}
