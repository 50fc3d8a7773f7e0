//! Measures a trained model: accuracy, open gates, MACs and speed on a test set.

mod args;
mod distribution;
mod predictions;
mod results;
mod sweep;
mod threshold;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use gaternet::cli::command_line::parse;
use gaternet::cli::image_check::checked;
use gaternet::cli::report::{exit_code, say};
use gaternet::cli::sets::Sets;
use gaternet::cli::threads::use_threads;
use gaternet::cli::trained_data::trained_data;
use gaternet::cli::{note, pipeline};
use gaternet::core::checkpoint::Checkpoint;
use gaternet::core::data::Dataset;
use gaternet::models::train::{EvaluationOptions, TestSet, Warning, evaluate_with};
use gaternet::models::{DType, Model};

use crate::args::Args;
use crate::distribution::{Distribution, Image};
use crate::predictions::write_predictions;
use crate::results::Results;
use crate::sweep::{Speed, sweep};
use crate::threshold::Thresholds;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    ensure!(args.batch_size > 0, "--batch-size 0: must be at least 1");
    ensure!(args.calibration > 0, "--calibration 0: must be at least 1");
    let device = args.device.open()?;
    use_threads(args.threads)?;
    let model = Model::load(&args.checkpoint)?;
    let moves_thresholds = match &model {
        Model::Plain(_) if args.budget.is_some() => {
            bail!("--budget: {} has no gates", args.checkpoint.display())
        }
        Model::Plain(_) => false,
        Model::Gated(_) => args.budget.is_some() || args.sweep.is_some(),
    };
    let train_images = if moves_thresholds { args.calibration } else { 0 };
    let augment = pipeline::of(&args.checkpoint, args.image_size, args.resize)?;
    let data =
        trained_data(&args.checkpoint, args.data.as_deref(), train_images, args.classes_by_name)?;
    let name = data.name().to_owned();
    let Sets { images: [train, images] } = data;
    let ([train, images], skipped) = match moves_thresholds {
        true => checked([train, images], args.skip_bad)?,
        false => {
            let ([images], skipped) = checked([images], args.skip_bad)?;
            ([train, images], skipped)
        }
    };
    let test = TestSet::new(images, augment);
    let (batch_size, dtype) = (args.batch_size, DType::from(args.dtype));
    let run = EvaluationOptions { batch_size, dtype, device };
    let thresholds = match &model {
        Model::Gated(model) if moves_thresholds => {
            Some(Thresholds::new(model, &train, &test.augment, train_images, (batch_size, dtype))?)
        }
        _ => None,
    };
    if let Some(out) = &args.sweep {
        return sweep(&model, thresholds.as_ref(), &test, &run, out);
    }
    let threshold = match (args.budget, &thresholds) {
        (Some(budget), Some(thresholds)) => {
            let threshold = thresholds.for_budget(budget)?;
            thresholds.set(threshold)?;
            Some(threshold)
        }
        _ => None,
    };
    let (mut images, mut speed) = (Vec::new(), Speed::default());
    let evaluation = evaluate_with(&model, &test, &run, |batch| -> Result<()> {
        images.extend(Image::of_batch(batch.labels, batch.logits, batch.macs));
        speed.add(batch.labels.len(), batch.time);
        Ok(())
    })?;
    if let Some(path) = &args.save {
        model.save(path, &Checkpoint::open(&args.checkpoint)?.outline().metadata)?;
    }
    if let Some(path) = &args.predictions {
        write_predictions(path, &images, &test.images)?;
    }
    for layer in &evaluation.inactive_layers {
        note::note(Warning::InactiveLayer { layer: layer.clone() });
    }
    let result = Results {
        data: name,
        skipped,
        dtype,
        classes: args.per_class.then(|| test.images.classes()),
        threshold,
        macs: Distribution::new(&images, None),
        images,
        evaluation,
        images_per_second: speed.images_per_second(),
    };
    match args.json {
        true => say!("{}", result.json()?)?,
        false => result.print()?,
    }
    Ok(())
}
