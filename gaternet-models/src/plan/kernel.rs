//! What the steps of a plan run: an op of a network, prepared for inputs of one size.

use std::ops::Range;

use gaternet_core::Result;
use gaternet_core::nn::BatchNorm2d;
use gaternet_kernels::{ActiveFilters, Isa};
use rayon::prelude::*;

use super::options::PlanOptions;
use crate::gating::pruning::Pruning;

/// What an op is prepared for.
pub struct PlanContext<'a> {
    pub(crate) isa: Isa,
    pub(crate) options: PlanOptions,
    /// (C, H, W) of each input with all its channels.
    pub(crate) whole: Vec<[usize; 3]>,
    /// The same with the channels that are kept.
    pub(crate) inputs: Vec<[usize; 3]>,
    /// What is left of filters and channels, until the op takes it.
    pub(crate) pruning: Option<Pruning<'a>>,
    /// The batch norm that follows, until the op takes it.
    pub(crate) norm: Option<&'a BatchNorm2d>,
    /// The lists by which filters and channels are left out.
    pub(crate) lists: Lists,
}

/// The gated layers whose lists say which filters of a step are active, and which channels it
/// reads; `None` is all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) filters: Option<usize>,
    pub(crate) channels: Option<usize>,
}

impl<'a> PlanContext<'a> {
    /// (C, H, W) of each input.
    #[must_use]
    pub fn inputs(&self) -> &[[usize; 3]] {
        &self.inputs
    }

    /// For the kernels of [`gaternet_kernels::cpu`].
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// What is left of filters and channels, for an op that prepares only that.
    pub(crate) fn take_pruning(&mut self) -> Pruning<'a> {
        self.pruning.take().unwrap_or_default()
    }

    /// The batch norm after the op, for one that computes it itself.
    pub(crate) fn take_norm(&mut self) -> Option<&'a BatchNorm2d> {
        self.norm.take()
    }
}

/// An op, prepared for a plan.
pub struct Planned(pub(crate) PlannedKind);

pub(crate) enum PlannedKind {
    /// One sample at a time; batch norm, gates, residual and ReLU are applied to what it leaves.
    Sample(Box<dyn SampleKernel>),
    /// All samples of a pass, with gates, residual and ReLU; the batch norm only if it was taken.
    Batch(Box<dyn BatchKernel>),
}

impl Planned {
    /// An op that computes one sample at a time, on one thread.
    pub fn each_sample(kernel: impl SampleKernel + 'static) -> Planned {
        Planned(PlannedKind::Sample(Box::new(kernel)))
    }

    pub(crate) fn batch(kernel: impl BatchKernel + 'static) -> Planned {
        Planned(PlannedKind::Batch(Box::new(kernel)))
    }
}

/// An op's evaluation pass over one sample.
pub trait SampleKernel: Send + Sync {
    /// Writes all of `output` (C, H, W), or of a gated op the channels that `active` lists in
    /// ascending order; others may be left as they are, and are set to 0 afterwards.
    ///
    /// # Errors
    /// What the op's kernels refuse.
    fn run(&self, inputs: Inputs<'_>, active: Option<&[u32]>, output: &mut [f32]) -> Result<()>;

    /// Bytes of the weights.
    fn weight_bytes(&self) -> usize {
        0
    }
}

/// An op's evaluation pass over all samples of a pass.
pub(crate) trait BatchKernel: Send + Sync {
    /// `relu(op(inputs) + residual)`; `output` and the inputs are (samples, ...).
    fn run(&self, operands: &Operands<'_>, output: &mut [f32]) -> Result<()>;

    /// Bytes of the weights as they are laid out, without biases.
    fn weight_bytes(&self) -> usize {
        0
    }
}

/// The inputs of a step, each (C, H, W) of one sample.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    read: &'a (dyn Fn(usize) -> &'a [f32] + Sync),
    count: usize,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(count: usize, read: &'a (dyn Fn(usize) -> &'a [f32] + Sync)) -> Inputs<'a> {
        Inputs { read, count }
    }

    /// Input `number`, counted from 0.
    ///
    /// # Panics
    /// If the step has fewer.
    #[must_use]
    pub fn get(&self, number: usize) -> &'a [f32] {
        assert!(number < self.count, "input {number} of {}", self.count);
        (self.read)(number)
    }

    /// How many the step has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The operands of a step for some samples.
pub(crate) struct Operands<'a> {
    pub(crate) isa: Isa,
    pub(crate) samples: &'a Samples,
    /// The lists of every gated layer for the samples of the batch.
    pub(crate) live: &'a [ActiveFilters],
    pub(crate) inputs: Inputs<'a>,
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) relu: bool,
    /// Leave planes of inactive filters as they are: nobody reads them.
    pub(crate) leave_dead: bool,
    /// Compute inactive filters and discard them.
    pub(crate) masks: bool,
}

/// The samples of a pass over the steps.
#[derive(Clone)]
pub(crate) enum Samples {
    /// Some of the batch, on this thread.
    Some(Range<usize>),
    /// This many, each op on all threads: a sample on each, or if there are too few, each on all.
    All(usize),
}

impl Samples {
    pub(crate) fn count(&self) -> usize {
        match self {
            Samples::Some(range) => range.len(),
            Samples::All(count) => *count,
        }
    }

    /// Number in the batch of the first.
    pub(crate) fn first(&self) -> usize {
        match self {
            Samples::Some(range) => range.start,
            Samples::All(_) => 0,
        }
    }

    /// `op(n, output)` for the `len` floats of `output` that are each sample's, n its number among
    /// these.
    pub(crate) fn try_for_each(
        &self,
        len: usize,
        output: &mut [f32],
        op: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<()> {
        let op = |(n, output): (usize, &mut [f32])| op(n, output);
        match self {
            Samples::Some(_) => output.chunks_exact_mut(len).enumerate().try_for_each(op),
            Samples::All(_) => output.par_chunks_exact_mut(len).enumerate().try_for_each(op),
        }
    }
}
