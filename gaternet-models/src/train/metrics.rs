//! What every epoch has come to, in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// What is wrong with a file whose lines nobody has written like this.
const NOT_AS_WRITTEN: &str = " is not what was written";

/// One line of `metrics.jsonl`. Accuracies and densities are fractions, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Its number, from 1.
    pub epoch: usize,
    /// Mean over the images as they were trained, gate terms included.
    pub train_loss: f64,
    /// Over the images as they were trained: augmented, with noisy gates, while the weights moved.
    pub train_accuracy: f64,
    /// On the test set.
    pub test_accuracy: f64,
    /// On the test set; 1 without gates.
    pub gate_density: f64,
    /// Executed MACs, gater included, over those of the plain backbone, on the test set.
    pub macs_ratio: f64,
    /// Predicted time, gater included, over that of the plain network, on the test set; of a
    /// training for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ratio: Option<f64>,
    /// Of the training, without the evaluation.
    pub images_per_second: f64,
    /// Of training and evaluation.
    pub seconds: f64,
    /// That of the last step.
    pub learning_rate: f32,
}

impl Metrics {
    /// Those of the last epoch in `path`, `metrics.jsonl` in the folder of a run.
    ///
    /// # Errors
    /// If the file cannot be read or does not end in a line of metrics.
    pub fn last(path: impl AsRef<Path>) -> Result<Metrics> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(Error::damaged_by(path, NOT_AS_WRITTEN))
    }
}

/// Metrics in a file, a line for each epoch.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    epochs: Vec<Metrics>,
}

impl Log {
    /// The lines of `path` up to epoch `epochs`; later ones, of an epoch that was not completed,
    /// are removed.
    pub(super) fn open(path: PathBuf, epochs: usize) -> Result<Log> {
        let failed = || Error::io("write", &path);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(failed())?,
        };
        let lines: Vec<&str> = text.split_inclusive('\n').take(epochs).collect();
        if lines.len() != epochs {
            let lines = lines.len();
            let what = format!(" has {lines} epochs, but the run stands after epoch {epochs}");
            return Err(Error::damaged(&path, what));
        }
        let read = |line: &&str| serde_json::from_str(line);
        let read: Vec<Metrics> = lines
            .iter()
            .map(read)
            .collect::<Result<_, serde_json::Error>>()
            .map_err(Error::damaged_by(&path, NOT_AS_WRITTEN))?;
        for (line, metrics) in (1..).zip(&read) {
            if metrics.epoch != line {
                let of = metrics.epoch;
                let what = format!("{NOT_AS_WRITTEN}: line {line} is of epoch {of}");
                return Err(Error::damaged(&path, what));
            }
        }
        let length: usize = lines.iter().map(|line| line.len()).sum();
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed())?;
        file.set_len(length as u64).map_err(failed())?;
        Ok(Log { path, file, epochs: read })
    }

    /// Adds a line, which is on disk then.
    pub(super) fn append(&mut self, metrics: Metrics) -> Result<()> {
        let line = serde_json::to_string(&metrics).map_err(io::Error::from);
        let line = line.map_err(Error::io("write", &self.path))? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(Error::io("write", &self.path))?;
        self.epochs.push(metrics);
        Ok(())
    }

    pub(super) fn epochs(&self) -> &[Metrics] {
        &self.epochs
    }
}
