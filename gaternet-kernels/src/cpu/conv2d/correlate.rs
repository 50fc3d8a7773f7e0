//! Runs a [`Plan`] over a batch: border, tiles, threads.

use rayon::prelude::*;

use super::plan::Plan;
use super::tile::{MAX_ROWS, Tile, Tiles, even_ranges};
use crate::active::ActiveFilters;
use crate::cpu::scratch::with_scratch;

/// Checked slices and lists of a correlation:
/// `source` (N, channels, source plane), `weight`, `target` (N, rows, out plane).
pub(crate) fn run(
    tiles: &Tiles,
    plan: &Plan,
    live_rows: Option<&ActiveFilters>,
    live_channels: Option<&ActiveFilters>,
    source: &[f32],
    weight: &[f32],
    target: &mut [f32],
) {
    let in_sample = plan.channels * plan.border.size[0] * plan.border.size[1];
    let out_sample = plan.rows * plan.out_plane;
    if out_sample == 0 || target.is_empty() {
        return;
    }
    let batch = target.len() / out_sample;
    // `Conv2dDims` keeps every count of channels far below u32::MAX on any machine that can hold them.
    let every = |count: usize| (0..count as u32).collect::<Vec<u32>>();
    let (all_rows, all_channels) = (every(plan.rows), every(plan.channels));
    let sample = |n: usize| Sample {
        tiles,
        plan,
        rows: live_rows.map_or(&all_rows, |active| active.row(n)),
        channels: live_channels.map_or(&all_channels, |active| active.row(n)),
        source: &source[n * in_sample..(n + 1) * in_sample],
        weight,
    };
    if batch >= rayon::current_num_threads() {
        target.par_chunks_mut(out_sample).enumerate().for_each(|(n, target)| {
            sample(n).bordered(|sample, bordered| sample.rows_into(bordered, 0, target));
        });
    } else {
        // Fewer samples than threads: the rows of each sample are shared out.
        let rows = plan.rows.div_ceil(2 * rayon::current_num_threads()).max(MAX_ROWS);
        for (n, target) in target.chunks_exact_mut(out_sample).enumerate() {
            sample(n).bordered(|sample, bordered| {
                let parts = target.par_chunks_mut(rows * plan.out_plane).enumerate();
                parts.for_each(|(i, part)| sample.rows_into(bordered, i * rows, part));
            });
        }
    }
}

struct Sample<'a> {
    tiles: &'a Tiles,
    plan: &'a Plan,
    rows: &'a [u32],
    channels: &'a [u32],
    source: &'a [f32],
    weight: &'a [f32],
}

impl Sample<'_> {
    /// Calls `body` with the live channels in bordered form.
    fn bordered(&self, body: impl FnOnce(&Self, &[f32])) {
        let border = &self.plan.border;
        let plane = border.size[0] * border.size[1];
        with_scratch(self.plan.scratch_len(self.tiles.lanes), |scratch| {
            for channel in self.channels.iter().map(|channel| *channel as usize) {
                let from = &self.source[channel * plane..(channel + 1) * plane];
                let start = channel * border.channel_stride;
                border.fill(
                    self.tiles.copy,
                    from,
                    &mut scratch[start..start + border.channel_stride],
                );
            }
            body(self, scratch);
        });
    }

    /// Computes the output rows `first..` that `target` has room for.
    fn rows_into(&self, bordered: &[f32], first: usize, target: &mut [f32]) {
        let plan = self.plan;
        let count = target.len() / plan.out_plane;
        let from = self.rows.partition_point(|row| (*row as usize) < first);
        let end = self.rows.partition_point(|row| (*row as usize) < first + count);
        let rows = &self.rows[from..end];
        if rows.len() < count || plan.phases.iter().any(|phase| phase.taps.is_empty()) {
            self.zero(rows, first, target);
        }
        let target = target.as_mut_ptr();
        for phase in plan.phases.iter().filter(|phase| !phase.taps.is_empty()) {
            let (tile_rows, tile_vectors) = self.tiles.choose(rows.len(), phase.vectors.len());
            // Pixels outside, rows inside: the pixels of all channels stay in L1 while weights stream.
            for vectors in even_ranges(phase.vectors.len(), tile_vectors) {
                for range in even_ranges(rows.len(), tile_rows) {
                    let rows = &rows[range];
                    let mut tile = Tile {
                        source: bordered.as_ptr(),
                        channels: self.channels,
                        channel_stride: plan.border.channel_stride,
                        taps: &phase.taps,
                        weights: [self.weight.as_ptr(); MAX_ROWS],
                        weight_channel: plan.weight_channel,
                        vectors: &phase.vectors[vectors.clone()],
                        targets: [target; MAX_ROWS],
                        target_step: plan.target_step,
                    };
                    for (slot, row) in rows.iter().map(|row| *row as usize).enumerate() {
                        tile.weights[slot] = self.weight[row * plan.weight_row..].as_ptr();
                        tile.targets[slot] = target.wrapping_add((row - first) * plan.out_plane);
                    }
                    let kernel = self.tiles.kernel(rows.len(), tile.vectors.len());
                    // SAFETY: `Tiles` are those of a detected instruction set. `bordered` has
                    // `scratch_len` floats, computed as the furthest that any channel, tap and vector
                    // reads. A row's and channel's weights lie inside (F, C, KH, KW), whose length
                    // was checked. The masks select pixels of one plane of `target`, which is
                    // borrowed mutably here.
                    unsafe { kernel(&tile) };
                }
            }
        }
    }

    /// Zeroes the planes of dead rows, and of all rows if some pixels have no taps.
    fn zero(&self, rows: &[u32], first: usize, target: &mut [f32]) {
        let all = self.plan.phases.iter().any(|phase| phase.taps.is_empty());
        let mut live = rows.iter().map(|row| *row as usize - first).peekable();
        for (row, plane) in target.chunks_exact_mut(self.plan.out_plane).enumerate() {
            if live.next_if_eq(&row).is_none() || all {
                plane.fill(0.0);
            }
        }
    }
}
