//! A model and its optimiser, epoch by epoch: the training itself, or the pre-training of a gater before it.

use std::fmt;

use anyhow::{Result, ensure};
use gaternet::core::data::Batch;
use gaternet::core::gate::LatencyCosts;
use gaternet::core::nn::{Module, Targets};
use gaternet::core::optim::{Ema, Optimizer, Schedule, Sgd, clip_grad_norm};
use gaternet::core::{Ctx, Tensor};
use gaternet::kernels::Device;
use gaternet::models::{DType, Model, PlainNet, WarmUp};

use crate::evaluation::{Evaluation, correct, evaluate, predictions};
#[cfg(feature = "cuda")]
use crate::gpu::Gpu;
use crate::images::Images;
use crate::progress::{EpochSums, Progress};
use crate::recipe::Recipe;
use crate::run_folder::Metrics;

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
    #[cfg(feature = "cuda")]
    gpu: Gpu,
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
            #[cfg(feature = "cuda")]
            gpu: Gpu::default(),
            model: classifier,
        }))
    }

    /// Stands after epoch `epoch`, with this state of optimiser and averages.
    pub(crate) fn resume(
        &mut self,
        epoch: usize,
        velocities: Vec<(String, Tensor)>,
        (averages, updates): (Vec<(String, Tensor)>, usize),
    ) -> Result<()> {
        self.epoch = epoch;
        self.optimizer.load_state(velocities)?;
        self.averages.as_mut().map_or(Ok(()), |ema| ema.load_state(averages, updates))?;
        Ok(())
    }

    /// Trains and evaluates the next epoch; `kept` says what is left if it fails.
    pub(crate) fn run_epoch(
        &mut self,
        recipe: &Recipe,
        images: &Images,
        device: &Device,
        progress: &Progress,
        kept: &str,
    ) -> Result<(Metrics, Evaluation)> {
        let epoch = self.epoch + 1;
        if let Model::Gated(model) = &self.model {
            self.warm_up.begin(model, epoch);
        }
        let mut sums = EpochSums::new();
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                self.steps_on_gpu(device, recipe, images, progress, kept, &mut sums)?;
            }
            _ => self.steps(recipe, images, progress, kept, &mut sums)?,
        }
        let train_seconds = sums.elapsed().as_secs_f64();
        progress.evaluating();
        let dtype = if matches!(device, Device::Cpu) { DType::F32 } else { recipe.dtype };
        let (trained, test, batch) = (self.trained(), images.test(), recipe.batch_size);
        let evaluation = self
            .with_averages(|| evaluate(&trained, test, (batch, dtype), device, |_, _, _, _| ()))?;
        self.epoch = epoch;
        let metrics = Metrics {
            epoch,
            train_loss: sums.loss(),
            train_accuracy: sums.accuracy(),
            test_accuracy: evaluation.accuracy,
            gate_density: evaluation.gate_density,
            macs_ratio: evaluation.cost.ratio(),
            latency_ratio: self.latency_ratio(&evaluation)?,
            images_per_second: sums.images as f64 / train_seconds,
            seconds: sums.elapsed().as_secs_f64(),
            learning_rate: self.optimizer.learning_rate(),
        };
        Ok((metrics, evaluation))
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

    /// The steps of the next epoch.
    fn steps(
        &mut self,
        recipe: &Recipe,
        images: &Images,
        progress: &Progress,
        kept: &str,
        sums: &mut EpochSums,
    ) -> Result<()> {
        let epoch = self.epoch + 1;
        let first_epoch = self.first_epoch(recipe);
        let first_step = first_epoch.saturating_mul(images.steps());
        let (steps, parameters) =
            (self.epochs.saturating_mul(images.steps()), self.model.parameters());
        let batches = images.loader().epoch((first_epoch + epoch) as u64);
        for (step, batch) in (self.epoch * images.steps()..).zip(batches) {
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
            self.check_loss(loss.into(), step + 1, steps, kept)?;
            let mut gradients = pass.loss.backward()?;
            if let Some(max_norm) = recipe.clip_grad_norm {
                clip_grad_norm(&parameters, &mut gradients, max_norm)?;
            }
            self.optimizer.step(&gradients)?;
            self.averages.as_mut().map_or(Ok(()), Ema::update)?;
            sums.add(batch.labels.len(), pass.correct, loss, pass.gate_density);
            progress.step(epoch, sums, 1);
        }
        Ok(())
    }

    /// `Err` if the loss at step `step` of `steps` is not a number.
    pub(crate) fn check_loss(
        &self,
        loss: f64,
        step: usize,
        steps: usize,
        kept: &str,
    ) -> Result<()> {
        ensure!(
            loss.is_finite(),
            "the loss became {loss} in epoch {} of the {}, step {step} of {steps}, at learning rate \
             {}: try a lower --lr; {kept}",
            self.epoch + 1,
            self.name,
            self.schedule.learning_rate(step - 1, steps),
        );
        Ok(())
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

    pub(crate) fn epochs(&self) -> usize {
        self.epochs
    }
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
