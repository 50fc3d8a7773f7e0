//! The training loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use gaternet::core::data::{Batch, Dataset, Loader};
use gaternet::core::nn::Module;
use gaternet::core::optim::{Optimizer, Sgd};
use gaternet::core::{Ctx, Tensor};
use gaternet::models::Model;

use crate::data::{BUILT_IN, Data};
use crate::evaluation::{Evaluation, correct, evaluate};
use crate::progress::{EpochSums, Progress};
use crate::recipe::Recipe;
use crate::run_folder::{Metrics, RunFolder};
use crate::table::{millions, percent, print_table};

/// A model, its optimiser and its data, ready to run.
pub(crate) struct Training {
    recipe: Recipe,
    data_name: &'static str,
    loader: Loader,
    test: Arc<Dataset>,
    model: Model,
    sgd: Sgd,
    /// Steps done.
    step: usize,
}

impl Training {
    pub(crate) fn new(recipe: Recipe, data: Data) -> Result<Training> {
        let Data { name: data_name, sets } = data;
        let model = recipe.model(sets.train.classes().len())?;
        let loader = Loader::new(Arc::new(sets.train), recipe.loader())?;
        let sgd = Sgd::new(model.parameters(), recipe.sgd())?;
        let test = Arc::new(sets.test);
        Ok(Training { recipe, data_name, loader, test, model, sgd, step: 0 })
    }

    /// Trains every epoch; after each, evaluates, adds a line of metrics and saves the model.
    pub(crate) fn run(&mut self, folder: &mut RunFolder) -> Result<()> {
        self.announce(folder);
        let start = Instant::now();
        let progress = Progress::new(self.recipe.epochs, self.steps())?;
        let mut last = None;
        for epoch in 1..=self.recipe.epochs {
            let (metrics, evaluation) = self.epoch(epoch, &progress, folder)?;
            folder.save(&self.model, &self.metadata(&metrics))?;
            folder.append(&metrics)?;
            progress.epoch(&metrics);
            last = Some(evaluation);
        }
        progress.finish();
        if let Some(evaluation) = last {
            self.summarise(&evaluation, start.elapsed().as_secs_f64(), folder);
        }
        Ok(())
    }

    fn epoch(
        &mut self,
        epoch: usize,
        progress: &Progress,
        folder: &RunFolder,
    ) -> Result<(Metrics, Evaluation)> {
        let mut sums = EpochSums::new();
        for batch in self.loader.epoch(epoch as u64) {
            let batch = batch?;
            let rate = self.recipe.schedule.learning_rate(self.step, self.steps());
            self.sgd.set_learning_rate(rate)?;
            self.step += 1;
            // The model drew its weights from stream 0.
            let ctx = &mut Ctx::train(self.recipe.seed).with_stream(self.step as u64);
            let pass = self.forward(&batch, ctx)?;
            let loss = pass.loss.item()?;
            ensure!(
                loss.is_finite(),
                "the loss became {loss} in epoch {epoch}, step {} of {}, at learning rate {rate}: \
                 try a lower --lr; {}",
                self.step,
                self.steps(),
                match epoch {
                    1 => "no model was saved".to_owned(),
                    _ => format!("{} is of epoch {}", folder.model_path().display(), epoch - 1),
                }
            );
            self.sgd.step(&pass.loss.backward()?)?;
            sums.add(batch.labels.len(), pass.correct, loss, pass.gate_density);
            progress.step(epoch, &sums);
        }
        let train_seconds = sums.elapsed().as_secs_f64();
        progress.evaluating();
        let evaluation = evaluate(&self.model, &self.test, self.recipe.batch_size)?;
        let metrics = Metrics {
            epoch,
            train_loss: sums.loss(),
            train_accuracy: sums.accuracy(),
            test_accuracy: evaluation.accuracy,
            gate_density: evaluation.gate_density,
            macs_ratio: evaluation.cost.ratio(),
            images_per_second: sums.images as f64 / train_seconds,
            seconds: sums.elapsed().as_secs_f64(),
            learning_rate: self.sgd.learning_rate(),
        };
        Ok((metrics, evaluation))
    }

    fn forward(&self, batch: &Batch, ctx: &mut Ctx) -> Result<Pass> {
        let (logits, loss, gate_density) = match &self.model {
            Model::Gated(model) => {
                let output = model.forward(&batch.images, ctx)?;
                let Recipe { criterion, lambda, .. } = &self.recipe;
                let loss = output.loss_with(criterion, &batch.labels, *lambda)?;
                (output.logits, loss.total, output.gates.density())
            }
            Model::Plain(model) => {
                let logits = model.forward(&batch.images, ctx)?;
                let loss = self.recipe.criterion.forward(&logits, &batch.labels)?;
                (logits, loss, 1.0)
            }
        };
        Ok(Pass { correct: correct(&logits, &batch.labels), loss, gate_density })
    }

    fn steps(&self) -> usize {
        self.recipe.epochs.saturating_mul(self.loader.batches())
    }

    fn metadata(&self, metrics: &Metrics) -> BTreeMap<String, String> {
        let mut metadata = self.recipe.metadata();
        metadata.extend([
            ("data".to_owned(), self.data_name.to_owned()),
            ("epoch".to_owned(), metrics.epoch.to_string()),
            ("test_accuracy".to_owned(), metrics.test_accuracy.to_string()),
            ("test_images".to_owned(), self.test.len().to_string()),
            ("train_images".to_owned(), self.loader.dataset().len().to_string()),
        ]);
        metadata
    }

    fn announce(&self, folder: &RunFolder) {
        let (train, test) = (self.loader.dataset().len(), self.test.len());
        let name = match self.data_name {
            BUILT_IN => "the built-in set (--data DIR trains on CIFAR)",
            name => name,
        };
        let gated = if self.recipe.gated.is_some() { "gated" } else { "plain" };
        eprintln!("{gated} {} on {name}, {train} + {test} images", self.recipe.backbone);
        eprintln!(
            "{} parameters, {} epochs of {} steps, results in {}",
            self.model.parameter_count(),
            self.recipe.epochs,
            self.loader.batches(),
            folder.dir().display()
        );
    }

    fn summarise(&self, evaluation: &Evaluation, seconds: f64, folder: &RunFolder) {
        let Evaluation { accuracy, loss, gate_density, cost } = evaluation;
        let gated = cost.executed + cost.gater;
        print_table(&[
            ("data", self.data_name.to_owned()),
            ("test accuracy", percent(*accuracy)),
            ("test loss", format!("{loss:.4}")),
            ("gates open", percent(*gate_density)),
            ("MACs per image, plain backbone", millions(cost.backbone)),
            (
                "MACs per image, gater included",
                format!("{} ({:.3}x)", millions(gated), cost.ratio()),
            ),
            ("time", format!("{seconds:.0} s")),
            ("metrics", folder.metrics_path().display().to_string()),
            ("model", folder.model_path().display().to_string()),
        ]);
    }
}

/// What a forward pass of a batch gives.
struct Pass {
    loss: Tensor,
    correct: usize,
    gate_density: f64,
}
