//! The folder of a run: its metrics, its model, and where it stands.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gaternet::models::Model;
use serde::{Deserialize, Serialize};

use crate::run_lock::RunLock;

/// One line of `metrics.jsonl`. Accuracies and densities are shares, 0 to 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Metrics {
    /// From 1.
    pub(crate) epoch: usize,
    /// Mean over the images as they were trained, gate terms included.
    pub(crate) train_loss: f64,
    /// Over the images as they were trained: augmented, with noisy gates, while the weights moved.
    pub(crate) train_accuracy: f64,
    pub(crate) test_accuracy: f64,
    /// On the test set; 1 without gates.
    pub(crate) gate_density: f64,
    /// Executed MACs, gater included, over those of the plain backbone, on the test set.
    pub(crate) macs_ratio: f64,
    /// Predicted time, gater included, over that of the plain network, on the test set; of a training for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ratio: Option<f64>,
    /// Training only.
    pub(crate) images_per_second: f64,
    /// Training and evaluation.
    pub(crate) seconds: f64,
    /// Of the last step.
    pub(crate) learning_rate: f32,
}

/// What to do with the results that a folder already holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Existing {
    Refuse,
    Replace,
    Resume,
}

/// What was measured before the first step; alone it is no result.
const LATENCY: &str = "latency.json";

const FILES: [&str; 7] = [
    LATENCY,
    "metrics.jsonl",
    "model.safetensors",
    "pretraining.jsonl",
    "skipped.jsonl",
    "gater.safetensors",
    "state.safetensors",
];

/// The files of a run.
#[derive(Debug, Clone)]
pub(crate) struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    pub(crate) fn new(dir: &Path) -> RunFolder {
        RunFolder { dir: dir.to_path_buf() }
    }

    /// `Err` if it holds results that would be lost. Writes nothing.
    pub(crate) fn check(&self, existing: Existing) -> Result<()> {
        self.results().try_for_each(|path| check(&path, existing))
    }

    /// Whether a run has got anywhere here or in a folder below, as runs of several seeds have.
    pub(crate) fn is_taken(&self) -> bool {
        let below = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let below = below.map(|entry| RunFolder::new(&entry.path()));
        let is_taken = |folder: &RunFolder| folder.results().any(|path| holds_something(&path));
        is_taken(self) || below.into_iter().any(|folder| is_taken(&folder))
    }

    fn results(&self) -> impl Iterator<Item = PathBuf> {
        FILES.iter().filter(|name| **name != LATENCY).map(|name| self.dir.join(name))
    }

    /// Makes the folder if there is none, and keeps other processes out of it.
    pub(crate) fn lock(&self) -> Result<RunLock> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create the folder {} of --out", self.dir.display()))?;
        RunLock::take(&self.dir)
    }

    /// Removes older results, and what a process that was killed has left.
    pub(crate) fn clear(&self) -> Result<()> {
        FILES.iter().try_for_each(|name| remove(&self.dir.join(name)))
    }

    pub(crate) fn save_model(
        &self,
        model: &Model,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        Ok(model.save(self.model_path(), metadata)?)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn metrics_path(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    pub(crate) fn pretraining_path(&self) -> PathBuf {
        self.dir.join("pretraining.jsonl")
    }

    pub(crate) fn model_path(&self) -> PathBuf {
        self.dir.join("model.safetensors")
    }

    pub(crate) fn gater_path(&self) -> PathBuf {
        self.dir.join("gater.safetensors")
    }

    /// What the latency of the network was measured to be, for a training to a target.
    pub(crate) fn latency_path(&self) -> PathBuf {
        self.dir.join(LATENCY)
    }

    /// Images that --skip-bad left out.
    pub(crate) fn skipped_path(&self) -> PathBuf {
        self.dir.join("skipped.jsonl")
    }

    pub(crate) fn state_path(&self) -> PathBuf {
        self.dir.join("state.safetensors")
    }

    /// What only an unfinished run needs.
    pub(crate) fn remove_state(&self) -> Result<()> {
        remove(&self.state_path())
    }
}

/// Whether the file is there. An empty one is of a run that failed before its first result.
fn holds_something(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// `Err` if the file holds something and must not be replaced.
pub(crate) fn check(path: &Path, existing: Existing) -> Result<()> {
    if existing == Existing::Refuse && holds_something(path) {
        let path = path.display();
        bail!(
            "{path} exists: choose another --out, pass --overwrite to replace it or --resume to go on"
        );
    }
    Ok(())
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Metrics in a file, a line for each epoch.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    epochs: Vec<Metrics>,
}

impl Log {
    /// The lines of `path` up to epoch `epochs`; later ones, of an epoch that was not completed, are removed.
    pub(crate) fn open(path: PathBuf, epochs: usize) -> Result<Log> {
        let context = || format!("cannot write {}", path.display());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.with_context(context)?,
        };
        let lines: Vec<&str> = text.split_inclusive('\n').take(epochs).collect();
        ensure!(
            lines.len() == epochs,
            "{} has {} epochs, but the run stands after epoch {epochs}",
            path.display(),
            lines.len()
        );
        let read = |line: &&str| serde_json::from_str(line);
        let read: Vec<Metrics> = lines
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is not what was written", path.display()))?;
        for (line, metrics) in (1..).zip(&read) {
            ensure!(
                metrics.epoch == line,
                "{} is not what was written: line {line} is of epoch {}",
                path.display(),
                metrics.epoch
            );
        }
        let length: usize = lines.iter().map(|line| line.len()).sum();
        let file =
            OpenOptions::new().create(true).append(true).open(&path).with_context(context)?;
        file.set_len(length as u64).with_context(context)?;
        Ok(Log { path, file, epochs: read })
    }

    /// The last line of a complete run.
    pub(crate) fn last(path: &Path) -> Result<Metrics> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .with_context(|| format!("{} is not what was written", path.display()))
    }

    /// Adds a line, which is on disk then.
    pub(crate) fn append(&mut self, metrics: Metrics) -> Result<()> {
        let line = serde_json::to_string(&metrics)? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.epochs.push(metrics);
        Ok(())
    }

    pub(crate) fn epochs(&self) -> &[Metrics] {
        &self.epochs
    }
}
