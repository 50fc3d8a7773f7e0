//! Runs a convolution, or the gradient to its input, over a batch: samples, threads, dead planes.

use rayon::prelude::*;

use super::Live;
use super::bf16;
use super::direct::Direct;
use super::sample::{Sample, SampleEpilogue};
use super::winograd::{Weights, Winograd, WinogradBf16};
use crate::active::ActiveFilters;
use crate::dims::Conv2dDims;

/// An algorithm with its weights.
pub(super) enum Engine<'a> {
    Direct(&'a Direct, &'a [f32]),
    Winograd(&'a Winograd, &'a Weights),
    DirectBf16(&'a bf16::Direct, &'a bf16::Weights),
    WinogradBf16(&'a WinogradBf16, &'a bf16::Weights),
}

impl Engine<'_> {
    /// All output planes of a sample, on this thread.
    pub(super) fn sample(&self, sample: &Sample<'_>, target: &mut [f32]) {
        fill_dead(sample, target);
        match self {
            Engine::Direct(direct, weight) => direct.sample(sample, weight, target),
            Engine::Winograd(winograd, weights) => winograd.sample(sample, weights, target),
            Engine::DirectBf16(direct, weights) => direct.sample(sample, weights, target),
            Engine::WinogradBf16(winograd, weights) => winograd.sample(sample, weights, target),
        }
    }

    /// The same on all threads.
    fn split(&self, sample: &Sample<'_>, target: &mut [f32]) {
        fill_dead(sample, target);
        match self {
            Engine::Direct(direct, weight) => direct.split(sample, weight, target),
            Engine::Winograd(winograd, weights) => winograd.split(sample, weights, target),
            Engine::DirectBf16(direct, weights) => direct.split(sample, weights, target),
            Engine::WinogradBf16(winograd, weights) => winograd.split(sample, weights, target),
        }
    }
}

/// A batch, its slices and lists checked.
pub(super) struct Batch<'a> {
    /// Output rows and source channels of a sample: filters and channels, or going back the reverse.
    pub(super) rows: usize,
    pub(super) channels: usize,
    /// 0, 1, ...: as many as there are rows and channels.
    pub(super) every: &'a [u32],
    /// Of each row, where its weights are among the rows of weights.
    pub(super) weight_rows: &'a [u32],
    /// Live ones, `None` for all.
    pub(super) live_rows: Option<&'a ActiveFilters>,
    pub(super) live_channels: Option<&'a ActiveFilters>,
    /// (N, channels, source plane).
    pub(super) source: &'a [f32],
    pub(super) source_plane: usize,
    /// Pixels of an output plane.
    pub(super) out_plane: usize,
    pub(super) bias: Option<&'a [f32]>,
    /// (N, rows, out plane).
    pub(super) residual: Option<&'a [f32]>,
    pub(super) relu: bool,
}

impl<'a> Batch<'a> {
    /// The convolution of `input` (N, C, H, W), followed by nothing.
    pub(super) fn forward(
        dims: &Conv2dDims,
        live: Live<'a>,
        every: &'a [u32],
        input: &'a [f32],
    ) -> Batch<'a> {
        Batch {
            rows: dims.out_channels(),
            channels: dims.in_channels(),
            every,
            weight_rows: every,
            live_rows: live.filters,
            live_channels: live.channels,
            source: input,
            source_plane: dims.in_plane(),
            out_plane: dims.out_plane(),
            bias: None,
            residual: None,
            relu: false,
        }
    }

    /// The gradient to its input, of `grad_output` (N, F, OH, OW).
    pub(super) fn backward_input(
        dims: &Conv2dDims,
        live: Live<'a>,
        every: &'a [u32],
        grad_output: &'a [f32],
    ) -> Batch<'a> {
        Batch {
            rows: dims.in_channels(),
            channels: dims.out_channels(),
            live_rows: live.channels,
            live_channels: live.filters,
            source: grad_output,
            source_plane: dims.out_plane(),
            out_plane: dims.in_plane(),
            ..Batch::forward(dims, live, every, grad_output)
        }
    }

    /// `target` is (N, rows, out plane).
    pub(super) fn run(&self, engine: &Engine<'_>, target: &mut [f32]) {
        let in_sample = self.channels * self.source_plane;
        let out_sample = self.rows * self.out_plane;
        if target.is_empty() {
            return;
        }
        let sample = |n: usize| Sample {
            rows: self.live_rows.map_or(&self.every[..self.rows], |active| active.row(n)),
            weight_rows: self.weight_rows,
            channels: self
                .live_channels
                .map_or(&self.every[..self.channels], |active| active.row(n)),
            source: &self.source[n * in_sample..(n + 1) * in_sample],
            source_plane: self.source_plane,
            out_plane: self.out_plane,
            epilogue: SampleEpilogue {
                bias: self.bias,
                residual: self.residual.map(|all| &all[n * out_sample..(n + 1) * out_sample]),
                relu: self.relu,
            },
        };
        if target.len() / out_sample >= rayon::current_num_threads() {
            let targets = target.par_chunks_mut(out_sample).enumerate();
            targets.for_each(|(n, target)| engine.sample(&sample(n), target));
        } else {
            for (n, target) in target.chunks_exact_mut(out_sample).enumerate() {
                engine.split(&sample(n), target);
            }
        }
    }
}

/// Writes the output planes of the rows that are not live.
fn fill_dead(sample: &Sample<'_>, target: &mut [f32]) {
    if sample.rows.len() * sample.out_plane == target.len() {
        return;
    }
    let mut live = sample.rows.iter().peekable();
    for (row, plane) in target.chunks_exact_mut(sample.out_plane).enumerate() {
        if live.next_if(|live| **live as usize == row).is_none() {
            sample.epilogue.fill_dead(row, plane);
        }
    }
}
