//! Kernels of a plan: ops of a network, prepared for inputs of one size.

use std::ops::Range;

use gaternet_core::Result;
use gaternet_core::nn::BatchNorm2d;
use gaternet_kernels::{ActiveFilters, Isa};
use rayon::prelude::*;

use super::options::PlanOptions;
use crate::gating::pruning::Pruning;

/// The circumstances for which an op prepares its kernel.
pub struct PlanContext<'a> {
    pub(crate) isa: Isa,
    pub(crate) options: PlanOptions,
    /// Shape (C, H, W) of each input with all its channels.
    pub(crate) whole: Vec<[usize; 3]>,
    /// Shape (C, H, W) of each input with the channels that pruning keeps.
    pub(crate) inputs: Vec<[usize; 3]>,
    /// The filters and channels that pruning keeps, until the op takes them.
    pub(crate) pruning: Option<Pruning<'a>>,
    /// The batch norm that follows, until the op takes it.
    pub(crate) norm: Option<&'a BatchNorm2d>,
    /// The lists by which inactive filters and channels are left out.
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
    /// Shape (C, H, W) of each input.
    #[must_use]
    pub fn inputs(&self) -> &[[usize; 3]] {
        &self.inputs
    }

    /// Instruction set for the kernels of [`gaternet_kernels::cpu`].
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Takes the filters and channels that pruning keeps, for an op that prepares only those.
    pub(crate) fn take_pruning(&mut self) -> Pruning<'a> {
        self.pruning.take().unwrap_or_default()
    }

    /// Takes the batch norm after the op, for an op that computes it itself.
    pub(crate) fn take_norm(&mut self) -> Option<&'a BatchNorm2d> {
        self.norm.take()
    }
}

/// An op, prepared for a plan.
pub struct Planned(pub(crate) PlannedKind);

pub(crate) enum PlannedKind {
    /// A kernel for one sample at a time; batch norm, gates, residual and ReLU are applied to its
    /// output.
    Sample(Box<dyn SampleKernel>),
    /// A kernel for all samples of a pass, which applies gates, residual and ReLU, and the batch
    /// norm if it took it.
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
    /// Writes all of `output` (C, H, W), or for a gated op the channels that `active` lists in
    /// ascending order; others may be left as they are, and are set to 0 afterwards.
    ///
    /// # Errors
    /// An error of the op's kernels.
    fn run(&self, inputs: Inputs<'_>, active: Option<&[u32]>, output: &mut [f32]) -> Result<()>;

    /// Bytes of the weights; 0 by default.
    fn weight_bytes(&self) -> usize {
        0
    }
}

/// An op's evaluation pass over several samples.
pub(crate) trait BatchKernel: Send + Sync {
    /// Computes `relu(op(inputs) + residual)`; `output` and the inputs are (samples, ...).
    fn run(&self, operands: &Operands<'_>, output: &mut [f32]) -> Result<()>;

    /// Bytes of the weights as they are laid out, without biases; 0 by default.
    fn weight_bytes(&self) -> usize {
        0
    }
}

/// The inputs of a step for one sample, each (C, H, W).
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    read: &'a (dyn Fn(usize) -> &'a [f32] + Sync),
    count: usize,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(count: usize, read: &'a (dyn Fn(usize) -> &'a [f32] + Sync)) -> Inputs<'a> {
        Inputs { read, count }
    }

    /// The input with this number, counted from 0.
    ///
    /// # Panics
    /// If the step has fewer inputs.
    #[must_use]
    pub fn get(&self, number: usize) -> &'a [f32] {
        assert!(number < self.count, "input {number} of {}", self.count);
        (self.read)(number)
    }

    /// Number of inputs.
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
    pub(crate) active: &'a [ActiveFilters],
    pub(crate) inputs: Inputs<'a>,
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) relu: bool,
    /// Whether the planes of inactive filters may be left as they are, because nobody reads them.
    pub(crate) skip_inactive: bool,
    /// Whether inactive filters are computed and discarded.
    pub(crate) masks: bool,
}

/// The samples of a pass over the steps.
#[derive(Clone)]
pub(crate) enum Samples {
    /// Some samples of the batch, on this thread.
    Some(Range<usize>),
    /// All samples, this many, with each op on all threads: a sample on each, or if there are too
    /// few, each on all.
    All(usize),
}

impl Samples {
    pub(crate) fn count(&self) -> usize {
        match self {
            Samples::Some(range) => range.len(),
            Samples::All(count) => *count,
        }
    }

    /// Number in the batch of the first sample.
    pub(crate) fn first(&self) -> usize {
        match self {
            Samples::Some(range) => range.start,
            Samples::All(_) => 0,
        }
    }

    /// Calls `op(n, output)` for each sample n with the `len` floats of `output` that are its own,
    /// in parallel if these are [`All`](Samples::All); n counts from the first sample here.
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
