//! The direct algorithm, for any kernel and stride: planes are padded, then register tiles go over
//! them.

use std::ops::Range;

use rayon::prelude::*;

use super::plan::Plan;
use super::sample::Sample;
use super::tile::{MAX_ROWS, Tile, Tiles, even_range, even_ranges};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::with_scratch;
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// A convolution, or the gradient of its input, computed by its definition.
pub(super) struct Direct {
    tiles: &'static Tiles,
    plan: Plan,
}

impl Direct {
    pub(super) fn forward(isa: Isa, dims: &Conv2dDims) -> Direct {
        let tiles = &isa.kernels().tiles;
        Direct { tiles, plan: Plan::forward(dims, tiles.lanes) }
    }

    pub(super) fn backward_input(isa: Isa, dims: &Conv2dDims) -> Direct {
        let tiles = &isa.kernels().tiles;
        Direct { tiles, plan: Plan::backward_input(dims, tiles.lanes) }
    }

    /// Computes the active rows of a sample, on this thread.
    pub(super) fn sample(&self, sample: &Sample<'_>, weight: &[f32], target: &mut [f32]) {
        self.clear(sample, target);
        let target = &SharedSlice::new(target);
        self.padded(sample, |padded| {
            self.rows(sample, weight, padded, 0..sample.rows.len(), target);
        });
    }

    /// Computes the active rows of a sample on all threads, which share out the rows.
    pub(super) fn split(&self, sample: &Sample<'_>, weight: &[f32], target: &mut [f32]) {
        self.clear(sample, target);
        let target = &SharedSlice::new(target);
        let rows = sample.rows.len();
        let most = rows.div_ceil(2 * rayon::current_num_threads()).max(MAX_ROWS);
        let parts = rows.div_ceil(most);
        self.padded(sample, |padded| {
            (0..parts).into_par_iter().for_each(|part| {
                self.rows(sample, weight, padded, even_range(rows, parts, part), target);
            });
        });
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

    /// Calls `body` with the active channels in padded form.
    fn padded(&self, sample: &Sample<'_>, body: impl FnOnce(&[f32])) {
        if self.plan.in_place {
            return body(sample.source);
        }
        let padding = &self.plan.padding;
        with_scratch(self.plan.scratch_len(self.tiles.lanes), |scratch| {
            for channel in sample.channels.iter().map(|channel| *channel as usize) {
                let start = channel * padding.channel_stride;
                let padded = &mut scratch[start..start + padding.channel_stride];
                padding.fill(self.tiles.copy, sample.plane(channel), padded);
            }
            body(scratch);
        });
    }

    /// Computes some of the sample's active rows.
    fn rows(
        &self,
        sample: &Sample<'_>,
        weight: &[f32],
        padded: &[f32],
        rows: Range<usize>,
        target: &SharedSlice<'_>,
    ) {
        let plan = &self.plan;
        let rows = &sample.rows[rows];
        for phase in plan.phases.iter().filter(|phase| !phase.taps.is_empty()) {
            let (tile_rows, tile_vectors) = self.tiles.choose(rows.len(), phase.vectors.len());
            // Pixels outside, rows inside: the pixels of all channels stay in L1 while weights
            // stream.
            for vectors in even_ranges(phase.vectors.len(), tile_vectors) {
                for range in even_ranges(rows.len(), tile_rows) {
                    let rows = &rows[range];
                    let mut tile = Tile {
                        source: padded.as_ptr(),
                        channels: sample.channels,
                        channel_stride: plan.padding.channel_stride,
                        taps: &phase.taps,
                        weights: [weight.as_ptr(); MAX_ROWS],
                        weight_channel: plan.weight_channel,
                        vectors: &phase.vectors[vectors.clone()],
                        targets: [target.start(); MAX_ROWS],
                        target_step: plan.target_step,
                        biases: [0.0; MAX_ROWS],
                        residuals: [std::ptr::null(); MAX_ROWS],
                        relu: sample.epilogue.relu,
                    };
                    for (slot, row) in rows.iter().map(|row| *row as usize).enumerate() {
                        tile.weights[slot] =
                            weight[sample.weight_row(row) * plan.weight_row..].as_ptr();
                        tile.targets[slot] = target.start().wrapping_add(row * sample.out_plane);
                        tile.biases[slot] = sample.epilogue.bias(row);
                        tile.residuals[slot] = sample.epilogue.residual(row, sample.out_plane);
                    }
                    let kernel = self.tiles.kernel(rows.len(), tile.vectors.len());
                    // SAFETY: `Tiles` are those of a detected instruction set. `padded` has
                    // `scratch_len` floats, computed as the furthest that any channel, tap and
                    // vector reads, or it is the source, whose planes no vector leaves. A row's and
                    // channel's weights lie inside (F, C, KH, KW), whose length was checked. The
                    // masks select pixels of the rows' planes, which `target` and `residual` hold,
                    // and which no other task or tile writes.
                    unsafe { kernel(&tile) };
                }
            }
        }
    }
}
