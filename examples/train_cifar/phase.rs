//! A model and its optimiser, epoch by epoch: the training itself, or the pre-training of a gater before it.

use std::fmt;

use anyhow::{Result, bail, ensure};
use gaternet::core::data::Batch;
use gaternet::core::nn::{Module, State, Targets};
use gaternet::core::optim::{Ema, Optimizer, Schedule, Sgd, clip_grad_norm};
use gaternet::core::{Ctx, Tensor};
use gaternet::kernels::Device;
use gaternet::models::{DType, LatencyCosts, Model, PlainNet, WarmUp};

use crate::evaluation::{Evaluation, correct, evaluate, predictions};
#[cfg(feature = "cuda")]
use crate::gpu::Gpu;
use crate::images::Images;
use crate::interrupt::Interrupt;
use crate::progress::{EpochSums, Progress};
use crate::recipe::Recipe;
use crate::run_folder::Metrics;
use crate::state::Position;

/// What helps against numbers that are not finite.
const HINT: &str = "try a lower --lr, or --clip-grad-norm";

/// Which training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PhaseName {
    Pretraining,
    Training,
}

impl PhaseName {
    /// The phase that is displayed like this.
    pub(crate) fn of(text: &str) -> Option<PhaseName> {
        let all = [PhaseName::Pretraining, PhaseName::Training];
        all.into_iter().find(|name| name.to_string() == text)
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseName::Pretraining => "pretraining",
            PhaseName::Training => "training",
        })
    }
}

pub(crate) struct Phase {
    name: PhaseName,
    model: Model,
    epochs: usize,
    schedule: Schedule,
    optimizer: Sgd,
    averages: Option<Ema>,
    warm_up: WarmUp,
    /// Epochs done.
    epoch: usize,
    /// Steps done of the next epoch, and what they add up to.
    step: usize,
    sums: EpochSums,
    #[cfg(feature = "cuda")]
    gpu: Gpu,
}

/// What a phase goes on with beside the weights.
pub(crate) struct OptimizerState {
    pub(crate) velocities: Vec<(String, Tensor)>,
    /// None if the recipe has no averages, or before the first update.
    pub(crate) averages: Vec<(String, Tensor)>,
    /// Updates that the averages have had.
    pub(crate) updates: usize,
}

/// What the steps of a run work with.
pub(crate) struct Work<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) images: &'a Images,
    pub(crate) device: &'a Device,
    pub(crate) interrupt: &'a Interrupt,
    /// What is left if the epoch fails, for messages.
    pub(crate) kept: &'a str,
}

impl Phase {
    /// The training of `model`.
    pub(crate) fn training(recipe: &Recipe, model: &Model) -> Result<Phase> {
        Ok(Phase {
            name: PhaseName::Training,
            model: model.clone(),
            epochs: recipe.epochs,
            schedule: recipe.schedule.clone(),
            optimizer: recipe.optimizer(model)?,
            averages: recipe.ema.map(|decay| Ema::new(model.state(), decay)).transpose()?,
            warm_up: recipe.gated.as_ref().map_or(WarmUp::default(), |gated| gated.warm_up),
            epoch: 0,
            step: 0,
            sums: EpochSums::new(),
            #[cfg(feature = "cuda")]
            gpu: Gpu::default(),
        })
    }

    /// The pre-training of the gater of `model`; `None` if the recipe has none.
    pub(crate) fn pretraining(recipe: &Recipe, model: &Model) -> Result<Option<Phase>> {
        let (Model::Gated(gated), Some(of_gater)) = (model, &recipe.gated) else { return Ok(None) };
        if of_gater.pretrain == 0 {
            return Ok(None);
        }
        let classifier = gated.gater().classifier(model.classes(), recipe.seed)?;
        let classifier = Model::Plain(classifier.into());
        Ok(Some(Phase {
            name: PhaseName::Pretraining,
            epochs: of_gater.pretrain,
            schedule: recipe.pretraining_schedule(),
            optimizer: recipe.pretraining_optimizer(&classifier)?,
            averages: None,
            warm_up: WarmUp::default(),
            epoch: 0,
            step: 0,
            sums: EpochSums::new(),
            #[cfg(feature = "cuda")]
            gpu: Gpu::default(),
            model: classifier,
        }))
    }

    /// Stands at `position`, `sums` into an epoch, with this state of optimiser and averages;
    /// without one they begin here.
    pub(crate) fn resume(
        &mut self,
        position: Position,
        sums: EpochSums,
        state: Option<OptimizerState>,
    ) -> Result<()> {
        let Position { epoch, step, .. } = position;
        (self.epoch, self.step, self.sums) = (epoch, step, sums);
        let Some(OptimizerState { velocities, averages, updates }) = state else { return Ok(()) };
        self.optimizer.load_state(velocities)?;
        self.averages.as_mut().map_or(Ok(()), |ema| ema.load_state(averages, updates))?;
        Ok(())
    }

    /// Trains the steps of the next epoch that are left. An `Err` that is
    /// [`Interrupted`](crate::interrupt::Interrupted) came between two steps.
    pub(crate) fn run_steps(&mut self, work: &Work<'_>, progress: &Progress) -> Result<()> {
        if let Model::Gated(model) = &self.model {
            self.warm_up.begin(model, self.epoch + 1);
        }
        if self.step == 0 {
            self.sums = EpochSums::new();
        }
        match work.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => self.steps_on_gpu(device, work, progress),
            _ => self.steps(work, progress),
        }
    }

    /// Evaluates what the steps of the epoch have made of the model, and ends the epoch.
    pub(crate) fn end_epoch(
        &mut self,
        work: &Work<'_>,
        progress: &Progress,
    ) -> Result<(Metrics, Evaluation)> {
        let Work { recipe, images, device, interrupt, kept } = *work;
        let (epoch, train_seconds) = (self.epoch + 1, self.sums.elapsed().as_secs_f64());
        progress.evaluating();
        let dtype = if matches!(device, Device::Cpu) { DType::F32 } else { recipe.dtype };
        let (trained, test) = (self.trained(), images.test());
        let run = (recipe.batch_size, dtype);
        let evaluation = self.with_averages(|| {
            evaluate(&trained, test, run, device, |_, _, _, _| interrupt.check())
        })?;
        ensure!(
            evaluation.loss.is_finite(),
            "after epoch {epoch} of the {} the loss of the test set is {}: {HINT}; {kept}",
            self.name,
            evaluation.loss
        );
        (self.epoch, self.step) = (epoch, 0);
        let sums = &self.sums;
        let metrics = Metrics {
            epoch,
            train_loss: sums.mean_loss(),
            train_accuracy: sums.accuracy(),
            test_accuracy: evaluation.accuracy,
            gate_density: evaluation.gate_density,
            macs_ratio: evaluation.cost.ratio(),
            latency_ratio: self.latency_ratio(&evaluation)?,
            images_per_second: sums.images as f64 / train_seconds,
            seconds: sums.elapsed().as_secs_f64(),
            learning_rate: self.last_learning_rate(images.steps()),
        };
        Ok((metrics, evaluation))
    }

    /// Of the last step of the epochs that are done.
    fn last_learning_rate(&self, steps_per_epoch: usize) -> f32 {
        let steps = |epochs: usize| epochs.saturating_mul(steps_per_epoch);
        self.schedule.learning_rate(steps(self.epoch).saturating_sub(1), steps(self.epochs))
    }

    /// The time that the test set's gates are predicted to take, if it was measured.
    fn latency_ratio(&self, evaluation: &Evaluation) -> Result<Option<f64>> {
        match &self.model {
            Model::Gated(model) if !self.gates_open_in(self.epoch) => {
                let ratio = |costs: &LatencyCosts| costs.ratio(&evaluation.densities);
                Ok(model.latency().map(ratio).transpose()?)
            }
            _ => Ok(None),
        }
    }

    /// The steps that are left of the next epoch.
    fn steps(&mut self, work: &Work<'_>, progress: &Progress) -> Result<()> {
        let Work { recipe, images, interrupt, kept, .. } = *work;
        let epoch = self.epoch + 1;
        let first_epoch = self.first_epoch(recipe);
        let first_step = first_epoch.saturating_mul(images.steps());
        let (steps, parameters) =
            (self.epochs.saturating_mul(images.steps()), self.model.parameters());
        let state = self.model.state();
        let batches = images.loader().epoch_from((first_epoch + epoch) as u64, self.step);
        for (step, batch) in (self.epoch * images.steps() + self.step..).zip(batches) {
            interrupt.check()?;
            let batch = batch?;
            let rate = self.schedule.learning_rate(step, steps);
            self.optimizer.set_learning_rate(rate)?;
            // The model drew its weights from stream 0.
            let ctx = Ctx::train(recipe.seed).with_stream((first_step + step + 1) as u64);
            let (step_of_gates, steps_of_gates) =
                self.warm_up.gated_steps(step, images.steps(), self.epochs);
            let mut ctx = ctx.with_progress(step_of_gates, steps_of_gates);
            let pass = self.forward(recipe, &batch, &mut ctx)?;
            let loss = pass.loss.item()?;
            if !loss.is_finite() {
                self.check_finite(loss.into(), &state, [step + 1, steps], kept)?;
            }
            let mut gradients = pass.loss.backward()?;
            if let Some(max_norm) = recipe.clip_grad_norm {
                clip_grad_norm(&parameters, &mut gradients, max_norm)?;
            }
            self.optimizer.step(&gradients)?;
            self.check_finite(loss.into(), &state, [step + 1, steps], kept)?;
            self.averages.as_mut().map_or(Ok(()), Ema::update)?;
            self.sums.add(batch.labels.len(), pass.correct, loss, pass.gate_density);
            self.step += 1;
            progress.step(epoch, &self.sums, 1);
        }
        Ok(())
    }

    /// `Err` naming the layer if the loss at step `step` of `steps`, or a value of `state`, that
    /// of the model, is not finite.
    pub(crate) fn check_finite(
        &self,
        loss: f64,
        state: &[(String, State)],
        [step, steps]: [usize; 2],
        kept: &str,
    ) -> Result<()> {
        let layer = first_not_finite(state);
        if loss.is_finite() && layer.is_none() {
            return Ok(());
        }
        let what = match layer {
            Some(name) if loss.is_finite() => format!("{name} is no longer finite"),
            Some(name) => format!("the loss became {loss}, first in {name},"),
            None => format!("the loss became {loss}, first in the output layer,"),
        };
        bail!(
            "{what} in epoch {} of the {}, step {step} of {steps}, at learning rate {}: {HINT}; {kept}",
            self.epoch + 1,
            self.name,
            self.schedule.learning_rate(step - 1, steps),
        )
    }

    /// What epochs are counted from. Those of a pre-training are numbered after those of the training: order and noise of
    /// the latter do not depend on whether there is one.
    pub(crate) fn first_epoch(&self, recipe: &Recipe) -> usize {
        match self.name {
            PhaseName::Training => 0,
            PhaseName::Pretraining => recipe.epochs,
        }
    }

    fn forward(&self, recipe: &Recipe, batch: &Batch, ctx: &mut Ctx) -> Result<Pass> {
        let mixed = recipe.mixup.map(|mixup| mixup.apply(batch, self.model.classes(), ctx.rng()));
        let mixed = mixed.transpose()?;
        let (images, targets): (_, Targets<'_>) = match &mixed {
            Some(mixed) => (&mixed.images, (&mixed.targets).into()),
            None => (&batch.images, (&batch.labels).into()),
        };
        let (logits, loss, gate_density) = match &self.model {
            Model::Gated(model) if !self.gates_open() => {
                let output = model.forward(images, ctx)?;
                let loss = model.loss_with(&output, &recipe.criterion, targets)?;
                (output.logits, loss.total, output.gates.density())
            }
            _ => {
                let logits = self.backbone().forward(images, ctx)?;
                let loss = recipe.criterion.forward(&logits, targets)?;
                (logits, loss, 1.0)
            }
        };
        let correct = match &mixed {
            Some(mixed) => share_of_predictions(&logits, &mixed.targets),
            None => correct(&logits, &batch.labels) as f64,
        };
        Ok(Pass { correct, loss, gate_density })
    }

    /// Whether the epoch after `self.epoch` has all gates open.
    fn gates_open(&self) -> bool {
        self.gates_open_in(self.epoch + 1)
    }

    fn gates_open_in(&self, epoch: usize) -> bool {
        matches!(self.model, Model::Gated(_)) && self.warm_up.gates_open(epoch)
    }

    /// Whether the gates are no longer those that the gater began with.
    pub(crate) fn gater_has_learnt(&self) -> bool {
        self.epoch > self.warm_up.open.max(self.warm_up.frozen_gater)
    }

    /// The network that is gated, or the plain one.
    fn backbone(&self) -> &PlainNet {
        match &self.model {
            Model::Plain(model) => model,
            Model::Gated(model) => model.backbone(),
        }
    }

    /// What the next epoch trains.
    pub(crate) fn trained(&self) -> Model {
        match self.gates_open() {
            true => Model::Plain(self.backbone().clone().into()),
            false => self.model.clone(),
        }
    }

    /// This many steps of the next epoch are done, which add up to `sums`.
    #[cfg(feature = "cuda")]
    pub(crate) fn stands(&mut self, step: usize, sums: EpochSums) {
        (self.step, self.sums) = (step, sums);
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Epochs at the start with all gates open.
    #[cfg(feature = "cuda")]
    pub(crate) fn open_epochs(&self) -> usize {
        self.warm_up.open
    }

    /// Optimiser, averages, and what is on the GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_gpu(&mut self) -> (&mut Sgd, Option<&mut Ema>, &mut Gpu) {
        (&mut self.optimizer, self.averages.as_mut(), &mut self.gpu)
    }

    /// Runs `body` while the model has its averaged weights and statistics, if it has any.
    pub(crate) fn with_averages<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        match &self.averages {
            Some(averages) => averages.with_averages(body)?,
            None => body(),
        }
    }

    pub(crate) fn name(&self) -> PhaseName {
        self.name
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn optimizer(&self) -> &Sgd {
        &self.optimizer
    }

    pub(crate) fn averages(&self) -> Option<&Ema> {
        self.averages.as_ref()
    }

    /// Epochs done.
    pub(crate) fn epoch(&self) -> usize {
        self.epoch
    }

    pub(crate) fn position(&self) -> Position {
        Position { phase: self.name, epoch: self.epoch, step: self.step }
    }

    /// Over the steps that are done of the next epoch.
    pub(crate) fn sums(&self) -> &EpochSums {
        &self.sums
    }

    pub(crate) fn epochs(&self) -> usize {
        self.epochs
    }
}

/// The first entry that holds a NaN or an infinity. A gater runs before its backbone.
fn first_not_finite(state: &[(String, State)]) -> Option<&str> {
    let finite = |state: &State| match state {
        State::Parameter(parameter) => all_finite(&parameter.tensor()),
        State::Buffer(buffer) => all_finite(&buffer.tensor()),
        State::Counter(_) => true,
    };
    let bad = || state.iter().filter(|(_, state)| !finite(state)).map(|(name, _)| name.as_str());
    bad().find(|name| name.starts_with("gater.")).or_else(|| bad().next())
}

/// Without a way out early, so that it runs at the speed of the memory.
fn all_finite(tensor: &Tensor) -> bool {
    tensor.data().iter().fold(true, |all, value| all & value.is_finite())
}

/// Sum over the rows of what `targets` (N, K) give the class with the largest logit.
fn share_of_predictions(logits: &Tensor, targets: &Tensor) -> f64 {
    let classes = targets.len() / targets.dims()[0];
    let rows = predictions(logits, targets.dims()[0]).zip(targets.data().chunks_exact(classes));
    rows.map(|(class, row)| f64::from(row[class])).sum()
}

/// What a forward pass of a batch gives.
struct Pass {
    loss: Tensor,
    /// Images whose class was named; with mixup, the named shares.
    correct: f64,
    gate_density: f64,
}
