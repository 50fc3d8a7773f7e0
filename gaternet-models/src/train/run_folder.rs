//! The folder of a run: its metrics, its model, and where it stands.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::run_lock::RunLock;
use crate::Model;

/// What to do with the results that a folder already holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and the run does not begin.
    #[default]
    Refuse,
    /// They are removed when the run begins.
    Replace,
    /// The run goes on where it stands, or begins if there are none.
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
pub struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// The folder `dir`, which need not be there.
    pub fn new(dir: impl Into<PathBuf>) -> RunFolder {
        RunFolder { dir: dir.into() }
    }

    /// `Err` if it holds results that would be lost. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Exists`], which names the first such file.
    pub fn check(&self, existing: Existing) -> Result<()> {
        self.results().try_for_each(|path| check(&path, existing))
    }

    /// Whether a run has got anywhere here or in a folder below, as runs of several seeds have.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let below = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let below = below.map(|entry| RunFolder::new(entry.path()));
        let is_taken = |folder: &RunFolder| folder.results().any(|path| holds_something(&path));
        is_taken(self) || below.into_iter().any(|folder| is_taken(&folder))
    }

    fn results(&self) -> impl Iterator<Item = PathBuf> {
        FILES.iter().filter(|name| **name != LATENCY).map(|name| self.dir.join(name))
    }

    /// Makes the folder if there is none, and keeps other processes out of it.
    pub(super) fn lock(&self) -> Result<RunLock> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        RunLock::take(&self.dir)
    }

    /// Removes older results, and what a process that was killed has left.
    pub(super) fn clear(&self) -> Result<()> {
        FILES.iter().try_for_each(|name| remove(&self.dir.join(name)))
    }

    pub(super) fn save_model(
        &self,
        model: &Model,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        Ok(model.save(self.model_path(), metadata)?)
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A line of [`Metrics`](super::Metrics) for each epoch.
    #[must_use]
    pub fn metrics_path(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    /// The same for the epochs in which the gater is pre-trained.
    #[must_use]
    pub fn pretraining_path(&self) -> PathBuf {
        self.dir.join("pretraining.jsonl")
    }

    /// The model of the last epoch, averaged if the recipe says so; [`Model::load`] reads it.
    #[must_use]
    pub fn model_path(&self) -> PathBuf {
        self.dir.join("model.safetensors")
    }

    /// The classifier that the gater was pre-trained as.
    #[must_use]
    pub fn gater_path(&self) -> PathBuf {
        self.dir.join("gater.safetensors")
    }

    /// What the latency of the network was measured to be, for a training to a target.
    #[must_use]
    pub fn latency_path(&self) -> PathBuf {
        self.dir.join(LATENCY)
    }

    /// Image files that were left out.
    #[must_use]
    pub fn skipped_path(&self) -> PathBuf {
        self.dir.join("skipped.jsonl")
    }

    /// Where a run that is not complete stands.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.dir.join("state.safetensors")
    }

    /// What only an unfinished run needs.
    pub(super) fn remove_state(&self) -> Result<()> {
        remove(&self.state_path())
    }
}

/// Whether the file is there. An empty one is of a run that failed before its first result.
fn holds_something(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// `Err` if the file holds something and must not be replaced.
pub(super) fn check(path: &Path, existing: Existing) -> Result<()> {
    if existing == Existing::Refuse && holds_something(path) {
        return Err(Error::Exists { path: path.to_path_buf() });
    }
    Ok(())
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("replace", path)(error)),
        _ => Ok(()),
    }
}
