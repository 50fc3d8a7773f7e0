//! The run of a convolution, or of the gradient of its input, over a batch: samples, threads, and
//! planes that are inactive.

use rayon::prelude::*;

use super::active::Active;
use super::bf16;
use super::direct::Direct;
use super::sample::{Sample, SampleEpilogue};
use super::winograd::{Elements, Weights, Winograd, WinogradBf16, elements};
use crate::active_filters::ActiveFilters;
use crate::dims::Conv2dDims;

/// An algorithm with its weights.
pub(super) enum Engine<'a> {
    Direct(&'a Direct, &'a [f32]),
    Winograd(&'a Winograd, &'a Weights),
    DirectBf16(&'a bf16::Direct, &'a bf16::Weights),
    WinogradBf16(&'a WinogradBf16, &'a bf16::Weights),
    Elements(&'a Elements, &'a elements::Weights),
}

impl Engine<'_> {
    /// Returns the number of samples that are best computed together, out of `count` for each
    /// thread.
    fn together(&self, count: usize) -> usize {
        match self {
            Engine::Elements(_, weights) => Elements::together(weights, count),
            _ => 1,
        }
    }

    /// Computes all output planes of samples 0, 1, ..., `target_len` floats each, on this thread.
    pub(super) fn samples<'a>(
        &self,
        sample: impl Fn(usize) -> Sample<'a>,
        target_len: usize,
        target: &mut [f32],
    ) {
        for (n, target) in target.chunks_exact_mut(target_len).enumerate() {
            let sample = &sample(n);
            fill_known(sample, target);
            if !sample.has_products() {
                continue;
            }
            match self {
                Engine::Direct(direct, weight) => direct.sample(sample, weight, target),
                Engine::Winograd(winograd, weights) => winograd.sample(sample, weights, target),
                Engine::DirectBf16(direct, weights) => direct.sample(sample, weights, target),
                Engine::WinogradBf16(winograd, weights) => winograd.sample(sample, weights, target),
                Engine::Elements(..) => {}
            }
        }
        if let Engine::Elements(elements, weights) = self {
            let (count, mut first) = (target.len() / target_len, 0);
            while first < count {
                let run = (first..count).take_while(|n| sample(*n).has_products()).count();
                let target = &mut target[first * target_len..(first + run) * target_len];
                elements.samples(weights, run, |n| sample(first + n), target_len, target);
                first += run + 1;
            }
        }
    }

    /// Computes all output planes of a sample, on all threads.
    fn split(&self, sample: &Sample<'_>, target: &mut [f32]) {
        fill_known(sample, target);
        if !sample.has_products() {
            return;
        }
        match self {
            Engine::Direct(direct, weight) => direct.split(sample, weight, target),
            Engine::Winograd(winograd, weights) => winograd.split(sample, weights, target),
            Engine::DirectBf16(direct, weights) => direct.split(sample, weights, target),
            Engine::WinogradBf16(winograd, weights) => winograd.split(sample, weights, target),
            Engine::Elements(elements, weights) => elements.split(weights, sample, target),
        }
    }
}

/// A batch whose slices and lists are checked.
pub(super) struct Batch<'a> {
    /// The output rows and source channels of a sample: filters and channels, or going back the
    /// reverse.
    pub(super) rows: usize,
    pub(super) channels: usize,
    /// The numbers 0, 1, ..., as many as there are rows and channels.
    pub(super) every: &'a [u32],
    /// The row of weights of each output row.
    pub(super) weight_rows: &'a [u32],
    /// The number of the list of the first sample, and the active rows and channels; `None` if all
    /// are.
    pub(super) first: usize,
    pub(super) active_rows: Option<&'a ActiveFilters>,
    pub(super) active_channels: Option<&'a ActiveFilters>,
    /// The source, (N, channels, source plane).
    pub(super) source: &'a [f32],
    pub(super) source_plane: usize,
    /// The pixels of an output plane.
    pub(super) out_plane: usize,
    pub(super) bias: Option<&'a [f32]>,
    /// The residual, (N, rows, out plane).
    pub(super) residual: Option<&'a [f32]>,
    pub(super) relu: bool,
    pub(super) exclude_inactive: bool,
}

impl<'a> Batch<'a> {
    /// Returns the convolution of `input` (N, C, H, W), followed by nothing.
    pub(super) fn forward(
        dims: &Conv2dDims,
        active: Active<'a>,
        every: &'a [u32],
        input: &'a [f32],
    ) -> Batch<'a> {
        Batch {
            rows: dims.out_channels(),
            channels: dims.in_channels(),
            every,
            weight_rows: every,
            first: 0,
            active_rows: active.filters,
            active_channels: active.channels,
            source: input,
            source_plane: dims.in_plane(),
            out_plane: dims.out_plane(),
            bias: None,
            residual: None,
            relu: false,
            exclude_inactive: false,
        }
    }

    /// Returns the gradient of the input that follows from `grad_output` (N, F, OH, OW).
    pub(super) fn backward_input(
        dims: &Conv2dDims,
        active: Active<'a>,
        every: &'a [u32],
        grad_output: &'a [f32],
    ) -> Batch<'a> {
        Batch {
            rows: dims.in_channels(),
            channels: dims.out_channels(),
            active_rows: active.channels,
            active_channels: active.filters,
            source: grad_output,
            source_plane: dims.out_plane(),
            out_plane: dims.in_plane(),
            ..Batch::forward(dims, active, every, grad_output)
        }
    }

    fn sample(&self, n: usize) -> Sample<'_> {
        let of = |len: usize| n * len..(n + 1) * len;
        let list = |active: Option<&'a ActiveFilters>, count: usize| match active {
            Some(active) => active.row(self.first + n),
            None => &self.every[..count],
        };
        Sample {
            rows: list(self.active_rows, self.rows),
            weight_rows: self.weight_rows,
            channels: list(self.active_channels, self.channels),
            source: &self.source[of(self.channels * self.source_plane)],
            source_plane: self.source_plane,
            out_plane: self.out_plane,
            epilogue: SampleEpilogue {
                bias: self.bias,
                residual: self.residual.map(|all| &all[of(self.rows * self.out_plane)]),
                relu: self.relu,
                exclude_inactive: self.exclude_inactive,
            },
        }
    }

    /// Computes `target` (N, rows, out plane) on this thread.
    pub(super) fn run_here(&self, engine: &Engine<'_>, target: &mut [f32]) {
        if !target.is_empty() {
            engine.samples(|n| self.sample(n), self.rows * self.out_plane, target);
        }
    }

    /// Computes `target` (N, rows, out plane) on all threads.
    pub(super) fn run(&self, engine: &Engine<'_>, target: &mut [f32]) {
        let out_sample = self.rows * self.out_plane;
        if target.is_empty() {
            return;
        }
        let (count, threads) = (target.len() / out_sample, rayon::current_num_threads());
        if count >= threads {
            let together = engine.together(count / threads);
            let targets = target.par_chunks_mut(together * out_sample).enumerate();
            targets.for_each(|(group, target)| {
                engine.samples(|n| self.sample(group * together + n), out_sample, target);
            });
        } else {
            for (n, target) in target.chunks_exact_mut(out_sample).enumerate() {
                engine.split(&self.sample(n), target);
            }
        }
    }
}

/// Writes the output planes that need no product: those of inactive rows, unless they are excluded,
/// and without an active channel those of all rows.
fn fill_known(sample: &Sample<'_>, target: &mut [f32]) {
    let Sample { epilogue, rows, .. } = sample;
    let excludes_inactive =
        epilogue.exclude_inactive || rows.len() * sample.out_plane == target.len();
    if sample.has_products() && excludes_inactive {
        return;
    }
    let mut active = rows.iter().peekable();
    for (row, plane) in target.chunks_exact_mut(sample.out_plane).enumerate() {
        match active.next_if(|active| **active as usize == row) {
            Some(_) if sample.channels.is_empty() => epilogue.fill(row, epilogue.bias(row), plane),
            None if !excludes_inactive => epilogue.fill(row, 0.0, plane),
            _ => {}
        }
    }
}
