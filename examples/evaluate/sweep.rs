//! One trained network from all gates closed to all open.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use gaternet::cli::report::say;
use gaternet::cli::table::percent;
use gaternet::core::Tensor;
use gaternet::core::checkpoint::replace_file;
use gaternet::core::data::Dataset;
use gaternet::models::train::{Evaluation, EvaluationOptions, TestSet, evaluate_with};
use gaternet::models::{GatedNet, Model};
use serde::Serialize;

use crate::threshold::Thresholds;

/// Budgets between all gates closed and all open, both included.
const BUDGETS: usize = 9;

/// A line of the file.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    /// Gates are open where the gate logit is above; 0 as trained, none without gates.
    threshold: Option<f32>,
    accuracy: f64,
    loss: f64,
    gate_density: f64,
    /// Executed, gater included, over the plain backbone.
    macs_ratio: f64,
    macs: f64,
    images_per_second: f64,
    images: usize,
    dtype: String,
    batch: usize,
    threads: usize,
}

/// Evaluates `model` as it is, as `run` says, and, with thresholds, at budgets from the least to
/// the most; writes a line each and prints a table.
pub(crate) fn sweep(
    model: &Model,
    thresholds: Option<&Thresholds<'_>>,
    test: &TestSet,
    run: &EvaluationOptions,
    out: &Path,
) -> Result<()> {
    // The file is written whether or not somebody reads the table.
    let mut printed = say!(
        "{:>10} {:>9} {:>10} {:>7} {:>9}",
        "threshold",
        "accuracy",
        "gates open",
        "MACs",
        "images/s"
    );
    let mut rows = Vec::new();
    let mut add = |threshold: Option<f32>| -> Result<()> {
        let row = measure(model, threshold, test, run)?;
        if printed.is_ok() {
            printed = say!(
                "{:>10} {:>9} {:>10} {:>6.3}x {:>9.0}",
                threshold.map_or("none".to_owned(), |threshold| format!("{threshold:.4}")),
                percent(row.accuracy),
                percent(row.gate_density),
                row.macs_ratio,
                row.images_per_second
            );
        }
        rows.push(serde_json::to_string(&row)? + "\n");
        Ok(())
    };
    match thresholds {
        None => add(None)?,
        Some(thresholds) => {
            add(Some(0.0))?;
            let size = test.augment.output_size(&test.images)?;
            let [closed, open] = [f32::MIN, f32::MAX]
                .map(|gate_logits| ratio(thresholds.model(), size, gate_logits));
            let (closed, open) = (closed?, open?);
            for step in 0..BUDGETS {
                let fraction = step as f64 / (BUDGETS - 1) as f64;
                let threshold = thresholds.for_budget(closed + fraction * (open - closed))?;
                thresholds.set(threshold)?;
                add(Some(threshold))?;
            }
            thresholds.set(0.0)?;
        }
    }
    replace_file(out, |mut file| file.write_all(rows.concat().as_bytes()))?;
    Ok(printed?)
}

fn measure(
    model: &Model,
    threshold: Option<f32>,
    test: &TestSet,
    run: &EvaluationOptions,
) -> Result<Row> {
    let mut speed = Speed::default();
    let evaluation = evaluate_with(model, test, run, |batch| -> Result<()> {
        speed.add(batch.labels.len(), batch.time);
        Ok(())
    })?;
    let Evaluation { accuracy, loss, gate_density, cost, .. } = evaluation;
    let name = match model {
        Model::Plain(model) => model.config().to_string(),
        Model::Gated(model) => format!("gated {}", model.config().backbone),
    };
    Ok(Row {
        model: name,
        threshold,
        accuracy,
        loss,
        gate_density,
        macs_ratio: cost.ratio(),
        macs: cost.executed + cost.gater,
        images_per_second: speed.images_per_second(),
        images: test.images.len(),
        dtype: run.dtype.to_string(),
        batch: run.batch_size,
        threads: rayon::current_num_threads(),
    })
}

/// MACs over the plain backbone if every gate logit is `gate_logits`.
fn ratio(model: &GatedNet, size: [usize; 2], gate_logits: f32) -> Result<f64> {
    let gates = model.evaluation_gates(&Tensor::full([1, model.plan().outputs()], gate_logits)?)?;
    Ok(model.cost(size, &gates)?.ratio())
}

/// Of passes over full batches: the median, which a busy machine changes little.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    /// Images and time of each pass.
    passes: Vec<(usize, Duration)>,
}

impl Speed {
    pub(crate) fn add(&mut self, images: usize, time: Duration) {
        self.passes.push((images, time));
    }

    pub(crate) fn images_per_second(&self) -> f64 {
        let full = self.passes.iter().map(|(images, _)| *images).max().unwrap_or(0);
        let passes = self.passes.iter().filter(|(images, _)| *images == full);
        let mut seconds: Vec<f64> = passes.map(|(_, time)| time.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).map_or(0.0, |median| full as f64 / median)
    }
}
