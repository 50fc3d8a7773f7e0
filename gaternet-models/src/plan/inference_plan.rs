//! [`InferencePlan`]: a model's evaluation pass on the processor.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gaternet_core::{Error, Result};

use super::OP;
use super::active_lists::ActiveLists;
use super::executor::Executor;
use super::options::PlanOptions;
use crate::files::model::Model;
use crate::gating::calibration::Calibration;
use crate::gating::gate_rule::GateRule;
use crate::gating::gated_net::GatedNet;
use crate::gating::pruning::PruningMap;
use crate::network::Network;
use crate::networks::plain_net::PlainNet;
use crate::program::finite;
use crate::program::{Mode, Program};

/// A model's evaluation pass, prepared for images of one size: batch norm is folded into the
/// convolutions' weights, weights and buffers are laid out, the active filters of the whole network
/// are listed once a batch.
///
/// In a batch with an image for every thread, each thread runs some images through the whole
/// network; in a smaller one all threads share each convolution. Once every thread has run a pass
/// nothing more is allocated, but for the lists by which
/// [`Estimator::TopK`](gaternet_core::gate::Estimator::TopK) and min-active sort. A network of more
/// than 2^20 weights, 2^21 in bf16, runs layer by layer over the batch, and needs memory for the
/// activations of all its images.
///
/// One plan serves any number of threads at once: a pass takes memory from a pool inside, and all
/// share the weights. A clone is the same plan.
///
/// Weights are copied: training the model further does not change its plan. Logits differ from
/// [`Model::forward`]'s by rounding, to f32 or the type of the products, and so may a gate whose
/// logit is about 0; they depend neither on the number of threads nor on the other samples of a
/// batch.
#[derive(Clone)]
pub struct InferencePlan(Arc<Inner>);

struct Inner {
    backbone: Executor,
    gating: Option<Gating>,
    options: PlanOptions,
}

struct Gating {
    gater: Executor,
    rule: GateRule,
    /// Lists without samples, which each call copies.
    lists: ActiveLists,
    /// Memory of the calls that are over. A call takes one, so calls on several threads share none.
    idle: Mutex<Vec<Scratch>>,
}

/// The gates and lists of a call.
struct Scratch {
    /// Values (N, c) of the gates.
    gates: Vec<f32>,
    lists: ActiveLists,
}

impl InferencePlan {
    /// # Errors
    /// [`Error::Kernel`] if images of this size do not fit the network, or `GATERNET_ISA` names an
    /// instruction set that the machine does not have; [`Error::Shape`] if one image takes more
    /// memory than there is.
    pub fn new(model: &Model, options: PlanOptions) -> Result<InferencePlan> {
        match model {
            Model::Plain(model) => InferencePlan::plain(model, options),
            Model::Gated(model) => InferencePlan::gated(model, options),
        }
    }

    /// Plans a network without gates, as [`new`](Self::new) does.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub fn plain(model: &PlainNet, options: PlanOptions) -> Result<InferencePlan> {
        let backbone = executor(model.network(), options, None)?;
        Ok(InferencePlan(Arc::new(Inner { backbone, gating: None, options })))
    }

    /// Plans a gated network, as [`new`](Self::new) does.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub fn gated(model: &GatedNet, options: PlanOptions) -> Result<InferencePlan> {
        InferencePlan::keeping(model, options, &PruningMap::new(model.plan(), None))
    }

    /// Plans a gated network without the filters that no image of the calibration set opens: they
    /// have no weights, nor have the channels that read them, and a gate that opens one counts as
    /// closed. Filters that every image of the set opens always run: a gate that closes one counts
    /// as open. If that leaves nothing to decide, [`run`](Self::run) leaves out the gater. An image
    /// that opens none of the former and all of the latter has the logits of the whole plan, bit
    /// for bit.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new), and [`Error::Shape`] if the calibration is of another
    /// number of gates.
    pub fn calibrated(
        model: &GatedNet,
        options: PlanOptions,
        calibration: &Calibration,
    ) -> Result<InferencePlan> {
        let fates = calibration.fates(model.plan())?;
        InferencePlan::keeping(model, options, &PruningMap::new(model.plan(), Some(&fates)))
    }

    fn keeping(
        model: &GatedNet,
        options: PlanOptions,
        kept: &PruningMap<'_>,
    ) -> Result<InferencePlan> {
        let backbone = executor(model.backbone().network(), options, Some(kept))?;
        let gater = executor(model.gater().network(), options, None)?;
        let (rule, lists) = (model.rule(), ActiveLists::new(kept));
        let gating = Some(Gating { gater, rule, lists, idle: Mutex::default() });
        Ok(InferencePlan(Arc::new(Inner { backbone, gating, options })))
    }

    /// Writes the logits (N, classes) of `images` (N, C, H, W): runs gater, gates and backbone.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is not that of N samples, or the gater's output is not a
    /// number. An image with a pixel that is not finite has logits of NaN and is named by the
    /// error, which comes when all others have theirs.
    pub fn run(&self, images: &[f32], logits: &mut [f32]) -> Result<()> {
        let batch = self.samples(images)?;
        self.check("the logits must be (N, classes)", logits.len(), batch, self.classes())?;
        let bad = finite::bad_images(images, self.0.backbone.input_len());
        match &self.0.gating {
            None => self.0.backbone.run(&[], images, logits)?,
            Some(gating) => gating.with_scratch(|gates, lists| {
                gates.resize(batch * lists.gates(), 0.0);
                if !lists.is_constant() {
                    gating.decide(images, gates)?;
                    let width = lists.gates();
                    bad.iter().for_each(|n| gates[n * width..(n + 1) * width].fill(0.0));
                }
                self.0.backbone.run(lists.fill(gates)?, images, logits)
            })?,
        }
        self.refuse(&bad, logits)
    }

    /// Runs as [`run`](Self::run) and also writes the gates (N, c), 0 or 1, that the gater decided
    /// on; a calibrated plan writes its decisions too where the calibration overrides them.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run).
    pub fn run_with_decisions(
        &self,
        images: &[f32],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()> {
        let batch = self.samples(images)?;
        self.check("the logits must be (N, classes)", logits.len(), batch, self.classes())?;
        self.check("the gates must be (N, c)", gates.len(), batch, self.gate_count())?;
        let bad = finite::bad_images(images, self.0.backbone.input_len());
        match &self.0.gating {
            None => self.0.backbone.run(&[], images, logits)?,
            Some(gating) => {
                gating.decide(images, gates)?;
                let width = self.gate_count();
                bad.iter().for_each(|n| gates[n * width..(n + 1) * width].fill(0.0));
                gating.with_scratch(|_, lists| {
                    self.0.backbone.run(lists.fill(gates)?, images, logits)
                })?;
            }
        }
        self.refuse(&bad, logits)
    }

    /// Writes the gates (N, c), 0 or 1, that the gater decides on for `images` (N, C, H, W); c is 0
    /// without a gater.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is not that of N samples.
    pub fn gates(&self, images: &[f32], gates: &mut [f32]) -> Result<()> {
        let batch = self.samples(images)?;
        self.check("the gates must be (N, c)", gates.len(), batch, self.gate_count())?;
        match &self.0.gating {
            Some(gating) => gating.decide(images, gates),
            None => Ok(()),
        }
    }

    /// Writes the logits (N, classes) of `images` (N, C, H, W) with these gates (N, c), each 0 or
    /// 1.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is not that of N samples or a gate is neither 0 nor 1; for
    /// images that are not finite the error of [`run`](Self::run).
    pub fn run_with_gates(&self, images: &[f32], gates: &[f32], logits: &mut [f32]) -> Result<()> {
        let batch = self.samples(images)?;
        self.check("the logits must be (N, classes)", logits.len(), batch, self.classes())?;
        self.check("the gates must be (N, c)", gates.len(), batch, self.gate_count())?;
        let bad = finite::bad_images(images, self.0.backbone.input_len());
        match &self.0.gating {
            None => self.0.backbone.run(&[], images, logits)?,
            Some(gating) => gating
                .with_scratch(|_, lists| self.0.backbone.run(lists.fill(gates)?, images, logits))?,
        }
        self.refuse(&bad, logits)
    }

    /// Number of gates, c; 0 without a gater.
    #[must_use]
    pub fn gate_count(&self) -> usize {
        self.0.gating.as_ref().map_or(0, |gating| gating.lists.gates())
    }

    /// Number of classes, the width of the output layer.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.0.backbone.output_len()
    }

    /// Shape (C, H, W) of the images.
    #[must_use]
    pub fn image(&self) -> [usize; 3] {
        self.0.backbone.input_shape()
    }

    /// Bytes of the weights as they are laid out for the kernels, gater included, without biases.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let gater = self.0.gating.as_ref().map_or(0, |gating| gating.gater.weight_bytes());
        self.0.backbone.weight_bytes() + gater
    }

    /// From here on, measures the time of each step of the backbone.
    pub(crate) fn time_steps(&self) {
        self.0.backbone.time_steps();
    }

    /// Seconds of each step of the backbone since the last call, all threads together.
    pub(crate) fn take_step_seconds(&self) -> Vec<f64> {
        self.0.backbone.take_step_seconds()
    }

    #[cfg(test)]
    pub(super) fn backbone(&mut self) -> &mut Executor {
        &mut Arc::get_mut(&mut self.0).expect("one clone").backbone
    }

    /// Number N of images (N, C, H, W).
    fn samples(&self, images: &[f32]) -> Result<usize> {
        let len = self.0.backbone.input_len();
        if images.len().is_multiple_of(len) {
            return Ok(images.len() / len);
        }
        self.wrong_images(format!("{} values for images of {len}", images.len()))
    }

    fn wrong_images<T>(&self, got: String) -> Result<T> {
        let [c, h, w] = self.0.backbone.input_shape();
        let got = format!("{got}: the plan is for (N, {c}, {h}, {w})");
        Err(Error::Shape { op: OP, rule: "the images must be of the plan's size", got })
    }

    fn check(&self, rule: &'static str, got: usize, batch: usize, width: usize) -> Result<()> {
        if got == batch * width {
            return Ok(());
        }
        let [c, h, w] = self.0.backbone.input_shape();
        let got =
            format!("{got} values for ({batch}, {width}), of {batch} images of ({c}, {h}, {w})");
        Err(Error::Shape { op: OP, rule, got })
    }

    /// Writes logits of NaN for the images that are not finite, and returns the error that names
    /// them.
    fn refuse(&self, bad: &[usize], logits: &mut [f32]) -> Result<()> {
        let classes = self.classes();
        bad.iter().for_each(|n| logits[n * classes..(n + 1) * classes].fill(f32::NAN));
        finite::check(OP, bad)
    }
}

impl fmt::Debug for InferencePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InferencePlan")
            .field("images", &self.0.backbone.input_shape())
            .field("classes", &self.classes())
            .field("gates", &self.gate_count())
            .field("options", &self.0.options)
            .finish()
    }
}

fn executor(
    network: &Network,
    options: PlanOptions,
    kept: Option<&PruningMap<'_>>,
) -> Result<Executor> {
    Executor::new(&Program::new(network, kept, Mode::Infer), options, kept)
}

impl Gating {
    fn decide(&self, images: &[f32], gates: &mut [f32]) -> Result<()> {
        let batch = images.len() / self.gater.input_len();
        // The gate logits are no more than the gates.
        self.gater.run(&[], images, &mut gates[..batch * self.rule.outputs()])?;
        self.rule.eval_in_place(batch, gates)
    }

    /// Calls with memory that is kept from call to call. What a failed call leaves does no harm:
    /// the next one writes all that it reads.
    fn with_scratch<R>(
        &self,
        call: impl FnOnce(&mut Vec<f32>, &mut ActiveLists) -> Result<R>,
    ) -> Result<R> {
        let taken = self.idle().pop();
        let mut scratch =
            taken.unwrap_or_else(|| Scratch { gates: Vec::new(), lists: self.lists.clone() });
        let result = call(&mut scratch.gates, &mut scratch.lists);
        self.idle().push(scratch);
        result
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Scratch>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
