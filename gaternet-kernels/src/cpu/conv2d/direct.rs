//! The direct algorithm: border, then register tiles over the planes, for any kernel and stride.

use std::ops::Range;

use rayon::prelude::*;

use super::plan::Plan;
use super::sample::Sample;
use super::tile::{MAX_ROWS, Tile, Tiles, even_range, even_ranges};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::with_scratch;
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// A convolution, or the gradient to its input, computed as it is defined.
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

    /// The active rows of a sample, on this thread.
    pub(super) fn sample(&self, sample: &Sample<'_>, weight: &[f32], target: &mut [f32]) {
        self.clear(sample, target);
        let target = &SharedSlice::new(target);
        self.bordered(sample, |bordered| {
            self.rows(sample, weight, bordered, 0..sample.rows.len(), target);
        });
    }

    /// The same on all threads: rows are shared out.
    pub(super) fn split(&self, sample: &Sample<'_>, weight: &[f32], target: &mut [f32]) {
        self.clear(sample, target);
        let target = &SharedSlice::new(target);
        let rows = sample.rows.len();
        let most = rows.div_ceil(2 * rayon::current_num_threads()).max(MAX_ROWS);
        let parts = rows.div_ceil(most);
        self.bordered(sample, |bordered| {
            (0..parts).into_par_iter().for_each(|part| {
                self.rows(sample, weight, bordered, even_range(rows, parts, part), target);
            });
        });
    }

    /// Pixels that no tap reaches are 0: some of the gradient to the input of a kernel that is
    /// smaller than its stride.
    fn clear(&self, sample: &Sample<'_>, target: &mut [f32]) {
        if self.plan.phases.iter().any(|phase| phase.taps.is_empty()) {
            for row in sample.rows.iter().map(|row| *row as usize) {
                target[row * sample.out_plane..(row + 1) * sample.out_plane].fill(0.0);
            }
        }
    }

    /// Calls `body` with the active channels in bordered form.
    fn bordered(&self, sample: &Sample<'_>, body: impl FnOnce(&[f32])) {
        if self.plan.in_place {
            return body(sample.source);
        }
        let border = &self.plan.border;
        with_scratch(self.plan.scratch_len(self.tiles.lanes), |scratch| {
            for channel in sample.channels.iter().map(|channel| *channel as usize) {
                let start = channel * border.channel_stride;
                let bordered = &mut scratch[start..start + border.channel_stride];
                border.fill(self.tiles.copy, sample.plane(channel), bordered);
            }
            body(scratch);
        });
    }

    /// Some of the sample's active rows.
    fn rows(
        &self,
        sample: &Sample<'_>,
        weight: &[f32],
        bordered: &[f32],
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
                        source: bordered.as_ptr(),
                        channels: sample.channels,
                        channel_stride: plan.border.channel_stride,
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
                    // SAFETY: `Tiles` are those of a detected instruction set. `bordered` has
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
