//! The steps of an epoch: those of the processor, or `gpu.rs`.

use std::ops::ControlFlow;

use gaternet_core::data::Batch;
use gaternet_core::nn::{Module, Targets};
use gaternet_core::optim::{Ema, Optimizer, clip_grad_norm};
use gaternet_core::{Ctx, Tensor};
#[cfg(feature = "cuda")]
use gaternet_kernels::Device;

use super::error::Result;
use super::evaluation::{correct, predictions};
use super::observer::{Observer, Steps};
use super::phase::{Phase, Work};
use super::recipe::Recipe;
use super::sums::EpochSums;
use crate::Model;

impl Phase {
    /// Trains the steps of the next epoch that are left; `Break` if the observer has ended that
    /// between two of them.
    pub(super) fn run_steps(
        &mut self,
        work: &Work<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<()>> {
        if let Model::Gated(model) = &self.model {
            self.warm_up.begin(model, self.epoch + 1);
        }
        if self.step == 0 {
            self.sums = EpochSums::new();
        }
        match work.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => self.steps_on_gpu(device, work, observer),
            _ => self.steps(work, observer),
        }
    }

    /// The steps that are left of the next epoch.
    fn steps(&mut self, work: &Work<'_>, observer: &mut dyn Observer) -> Result<ControlFlow<()>> {
        let Work { recipe, images, kept, .. } = *work;
        let epoch = self.epoch + 1;
        let first_epoch = self.first_epoch(recipe);
        let first_step = first_epoch.saturating_mul(images.steps());
        let (steps, parameters) =
            (self.epochs.saturating_mul(images.steps()), self.model.parameters());
        let state = self.model.state();
        let batches = images.loader().epoch_from((first_epoch + epoch) as u64, self.step);
        for (step, batch) in (self.epoch * images.steps() + self.step..).zip(batches) {
            if observer.should_stop() {
                return Ok(ControlFlow::Break(()));
            }
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
            observer.steps_done(&Steps { epoch, steps: 1, sums: &self.sums });
        }
        Ok(ControlFlow::Continue(()))
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
                let loss = model.loss_with(&output, &self.criterion, targets)?;
                (output.logits, loss.total, output.gates.density())
            }
            _ => {
                let logits = self.backbone().forward(images, ctx)?;
                let loss = self.criterion.forward(&logits, targets)?;
                (logits, loss, 1.0)
            }
        };
        let correct = match &mixed {
            Some(mixed) => fraction_of_predictions(&logits, &mixed.targets),
            None => correct(&logits, &batch.labels) as f64,
        };
        Ok(Pass { correct, loss, gate_density })
    }
}

/// Sum over the rows of what `targets` (N, K) give the class with the largest logit.
fn fraction_of_predictions(logits: &Tensor, targets: &Tensor) -> f64 {
    let classes = targets.len() / targets.dims()[0];
    let rows = predictions(logits, targets.dims()[0]).zip(targets.data().chunks_exact(classes));
    rows.map(|(class, row)| f64::from(row[class])).sum()
}

/// What a forward pass of a batch gives.
struct Pass {
    loss: Tensor,
    /// Images whose class was named; with mixup, the named fractions.
    correct: f64,
    gate_density: f64,
}
