//! What runs of one recipe with several seeds have in common.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::{Error, Result};
use super::metrics::Metrics;
use super::run_folder::{self, Existing};

/// Test results of several seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Share of gates that are open, 0 to 1.
    pub gate_density: Spread,
    /// Executed MACs, gater included, over those of the plain backbone.
    pub macs_ratio: Spread,
    /// The seeds, in the order of the values.
    pub seeds: Vec<u64>,
    /// Share of images classified correctly, 0 to 1.
    pub test_accuracy: Spread,
}

/// Values, one for each seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// With n - 1 in the denominator; one value has none.
    pub standard_deviation: Option<f64>,
    /// All of them.
    pub values: Vec<f64>,
}

impl Summary {
    /// Of the last epochs of complete runs, with their seeds.
    #[must_use]
    pub fn new(runs: &[(u64, Metrics)]) -> Summary {
        let spread =
            |value: fn(&Metrics) -> f64| Spread::new(runs.iter().map(|(_, run)| value(run)));
        Summary {
            gate_density: spread(|run| run.gate_density),
            macs_ratio: spread(|run| run.macs_ratio),
            seeds: runs.iter().map(|(seed, _)| *seed).collect(),
            test_accuracy: spread(|run| run.test_accuracy),
        }
    }
}

impl Spread {
    fn new(values: impl Iterator<Item = f64>) -> Spread {
        let values: Vec<f64> = values.collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = (n > 1.0).then(|| (squares / (n - 1.0)).sqrt());
        Spread { mean, standard_deviation, values }
    }
}

/// Where the summary of several runs is kept, `summary.json` in the folder that has a folder for
/// each of them.
#[derive(Debug, Clone)]
pub struct SummaryFile(PathBuf);

impl SummaryFile {
    /// In the folder `dir`.
    pub fn new(dir: impl AsRef<Path>) -> SummaryFile {
        SummaryFile(dir.as_ref().join("summary.json"))
    }

    /// `Err` if it is there and would be lost.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn check(&self, existing: Existing) -> Result<()> {
        run_folder::check(&self.0, existing)
    }

    /// Takes away an older one: runs begin of which it would not be.
    ///
    /// # Errors
    /// If the system refuses that.
    pub fn remove(&self) -> Result<()> {
        run_folder::remove(&self.0)
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the system refuses that.
    pub fn write(&self, summary: &Summary) -> Result<()> {
        let text = serde_json::to_string(summary).map_err(std::io::Error::from);
        let text = text.map(|text| text + "\n").and_then(|text| fs::write(&self.0, text));
        text.map_err(Error::io("write", &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_has_no_deviation_and_three_have_that_of_a_sample() {
        let one = Spread::new([0.5].into_iter());
        assert_eq!((one.mean, one.standard_deviation), (0.5, None));
        let three = Spread::new([1.0, 2.0, 4.0].into_iter());
        let deviation = three.standard_deviation.expect("three values");
        assert!((three.mean - 7.0 / 3.0).abs() < 1e-12);
        assert!((deviation - (7.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{deviation}");
    }
}
