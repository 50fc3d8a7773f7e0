//! The folder of a run: its metrics, its model.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gaternet::models::Model;
use serde::Serialize;

/// One line of `metrics.jsonl`. Accuracies and densities are shares, 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Metrics {
    /// From 1.
    pub(crate) epoch: usize,
    /// Mean over the images as they were trained, gate term included.
    pub(crate) train_loss: f64,
    /// Over the images as they were trained: augmented, with noisy gates, while the weights moved.
    pub(crate) train_accuracy: f64,
    pub(crate) test_accuracy: f64,
    /// On the test set; 1 without gates.
    pub(crate) gate_density: f64,
    /// Executed MACs, gater included, over those of the plain backbone, on the test set.
    pub(crate) macs_ratio: f64,
    /// Training only.
    pub(crate) images_per_second: f64,
    /// Training and evaluation.
    pub(crate) seconds: f64,
    /// Of the last step.
    pub(crate) learning_rate: f32,
}

/// `metrics.jsonl` and `model.safetensors` of a run.
pub(crate) struct RunFolder {
    dir: PathBuf,
    metrics_path: PathBuf,
    model_path: PathBuf,
    metrics: File,
}

impl RunFolder {
    /// Makes the folder and an empty `metrics.jsonl`. Older results are an error, or with `overwrite`
    /// removed.
    pub(crate) fn create(dir: &Path, overwrite: bool) -> Result<RunFolder> {
        let (metrics_path, model_path) = (dir.join("metrics.jsonl"), dir.join("model.safetensors"));
        for path in [&metrics_path, &model_path] {
            if !overwrite && path.exists() {
                let path = path.display();
                bail!("{path} exists: choose another --out, or pass --overwrite to replace it");
            }
        }
        fs::create_dir_all(dir)
            .with_context(|| format!("cannot create the folder {} of --out", dir.display()))?;
        let metrics = File::create(&metrics_path)
            .with_context(|| format!("cannot write {}", metrics_path.display()))?;
        match fs::remove_file(&model_path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let context = format!("cannot replace {}", model_path.display());
                Err(error).context(context)
            }
            _ => Ok(RunFolder { dir: dir.to_path_buf(), metrics_path, model_path, metrics }),
        }
    }

    /// Adds a line, at once.
    pub(crate) fn append(&mut self, metrics: &Metrics) -> Result<()> {
        let line = serde_json::to_string(metrics)?;
        writeln!(self.metrics, "{line}")
            .with_context(|| format!("cannot write {}", self.metrics_path.display()))
    }

    /// Replaces the model of the epoch before.
    pub(crate) fn save(&self, model: &Model, metadata: &BTreeMap<String, String>) -> Result<()> {
        Ok(model.save(&self.model_path, metadata)?)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn metrics_path(&self) -> &Path {
        &self.metrics_path
    }

    pub(crate) fn model_path(&self) -> &Path {
        &self.model_path
    }
}
