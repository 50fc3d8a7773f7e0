//! A model and its optimiser, epoch by epoch: the training itself, or the pre-training of a gater
//! before it.

use std::ops::ControlFlow;

use gaternet_core::Tensor;
use gaternet_core::nn::{CrossEntropyLoss, Module};
use gaternet_core::optim::{Ema, Optimizer, Schedule, Sgd};
use gaternet_kernels::Device;

use super::error::{Error, Result};
use super::evaluation::{Evaluation, EvaluationOptions, evaluate_with};
#[cfg(feature = "cuda")]
use super::gpu_state::Gpu;
use super::images::Images;
use super::metrics::Metrics;
use super::observer::Observer;
use super::position::{PhaseName, Position};
use super::recipe::Recipe;
use super::sums::EpochSums;
use crate::{DType, LatencyCosts, Model, PlainNet, WarmUp};

/// A model and what trains it.
pub(super) struct Phase {
    pub(super) name: PhaseName,
    pub(super) model: Model,
    pub(super) epochs: usize,
    pub(super) schedule: Schedule,
    pub(super) criterion: CrossEntropyLoss,
    pub(super) optimizer: Sgd,
    pub(super) averages: Option<Ema>,
    pub(super) warm_up: WarmUp,
    /// Epochs done.
    pub(super) epoch: usize,
    /// Steps done of the next epoch, and what they add up to.
    pub(super) step: usize,
    pub(super) sums: EpochSums,
    #[cfg(feature = "cuda")]
    pub(super) gpu: Gpu,
}

/// What a phase goes on with beside the weights.
pub(super) struct OptimizerState {
    pub(super) velocities: Vec<(String, Tensor)>,
    /// None if the recipe has no averages, or before the first update.
    pub(super) averages: Vec<(String, Tensor)>,
    /// Updates that the averages have had.
    pub(super) updates: usize,
}

/// What the steps of a run work with.
pub(super) struct Work<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) images: &'a Images,
    pub(super) device: &'a Device,
    /// What is left if the epoch fails, for messages.
    pub(super) kept: &'a str,
}

impl Phase {
    /// The training of `model`.
    pub(super) fn training(recipe: &Recipe, model: &Model) -> Result<Phase> {
        Ok(Phase {
            name: PhaseName::Training,
            model: model.clone(),
            epochs: recipe.epochs,
            schedule: recipe.schedule.clone(),
            criterion: recipe.criterion()?,
            optimizer: recipe.optimizer(model)?,
            averages: recipe.ema.map(|decay| Ema::new(model.state(), decay)).transpose()?,
            warm_up: match model {
                Model::Gated(_) => recipe.gater.warm_up,
                Model::Plain(_) => WarmUp::default(),
            },
            epoch: 0,
            step: 0,
            sums: EpochSums::new(),
            #[cfg(feature = "cuda")]
            gpu: Gpu::default(),
        })
    }

    /// The pre-training of the gater of `model`; `None` if the recipe has none.
    pub(super) fn pretraining(recipe: &Recipe, model: &Model) -> Result<Option<Phase>> {
        let Model::Gated(gated) = model else { return Ok(None) };
        if recipe.gater.pretrain == 0 {
            return Ok(None);
        }
        let classifier = gated.gater().classifier(model.classes(), recipe.seed)?;
        let classifier = Model::Plain(classifier.into());
        Ok(Some(Phase {
            name: PhaseName::Pretraining,
            epochs: recipe.gater.pretrain,
            schedule: recipe.pretraining_schedule(),
            criterion: recipe.criterion()?,
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
    pub(super) fn resume(
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

    /// Evaluates what the steps of the epoch have made of the model, and ends the epoch; `Break` if
    /// the observer has ended that.
    pub(super) fn end_epoch(
        &mut self,
        work: &Work<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<(), (Metrics, Evaluation)>> {
        let Work { recipe, images, device, kept } = *work;
        let (epoch, train_seconds) = (self.epoch + 1, self.sums.elapsed().as_secs_f64());
        observer.evaluation_begins();
        let dtype = if matches!(device, Device::Cpu) { DType::F32 } else { recipe.dtype };
        let trained = self.trained();
        let options =
            EvaluationOptions { batch_size: recipe.batch_size, dtype, device: device.clone() };
        let evaluation = self.with_averages(|| {
            evaluate_with(&trained, images.test(), &options, |_| match observer.should_stop() {
                true => Err(End::Stopped),
                false => Ok(()),
            })
        })?;
        let evaluation = match evaluation {
            Ok(evaluation) => evaluation,
            Err(End::Stopped) => return Ok(ControlFlow::Break(())),
            Err(End::Failed(error)) => return Err(error),
        };
        if !evaluation.loss.is_finite() {
            return Err(Error::Diverged {
                event: format!(
                    "after epoch {epoch} of the {} the loss of the test set is {}",
                    self.name, evaluation.loss
                ),
                kept: kept.to_owned(),
            });
        }
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
        Ok(ControlFlow::Continue((metrics, evaluation)))
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

    /// What epochs are counted from. Those of a pre-training are numbered after those of the
    /// training: order and noise of the latter do not depend on whether there is one.
    pub(super) fn first_epoch(&self, recipe: &Recipe) -> usize {
        match self.name {
            PhaseName::Training => 0,
            PhaseName::Pretraining => recipe.epochs,
        }
    }

    /// Whether the epoch after `self.epoch` has all gates open.
    pub(super) fn gates_open(&self) -> bool {
        self.gates_open_in(self.epoch + 1)
    }

    fn gates_open_in(&self, epoch: usize) -> bool {
        matches!(self.model, Model::Gated(_)) && self.warm_up.gates_open(epoch)
    }

    /// Whether the gates are no longer those that the gater began with.
    pub(super) fn gater_has_learnt(&self) -> bool {
        self.epoch > self.warm_up.open_epochs.max(self.warm_up.frozen_gater)
    }

    /// The network that is gated, or the plain one.
    pub(super) fn backbone(&self) -> &PlainNet {
        match &self.model {
            Model::Plain(model) => model,
            Model::Gated(model) => model.backbone(),
        }
    }

    /// What the next epoch trains.
    pub(super) fn trained(&self) -> Model {
        match self.gates_open() {
            true => Model::Plain(self.backbone().clone().into()),
            false => self.model.clone(),
        }
    }

    /// Runs `body` while the model has its averaged weights and statistics, if it has any.
    pub(super) fn with_averages<R>(&self, body: impl FnOnce() -> R) -> Result<R> {
        Ok(match &self.averages {
            Some(averages) => averages.with_averages(body)?,
            None => body(),
        })
    }

    pub(super) fn position(&self) -> Position {
        Position { phase: self.name, epoch: self.epoch, step: self.step }
    }
}

/// The end of an evaluation.
enum End {
    /// The observer's.
    Stopped,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Failed(error)
    }
}
