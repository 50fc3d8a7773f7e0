//! Where a run stands.

use std::fmt;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseName {
    /// The gater's feature extractor learns to classify the images.
    Pretraining,
    /// The model itself.
    Training,
}

impl PhaseName {
    /// The phase that is displayed like this.
    pub(super) fn of(text: &str) -> Option<PhaseName> {
        let all = [PhaseName::Pretraining, PhaseName::Training];
        all.into_iter().find(|name| name.to_string() == text)
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseName::Pretraining => "pretraining",
            PhaseName::Training => "training",
        })
    }
}

/// Where a phase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The phase.
    pub phase: PhaseName,
    /// Epochs that are done.
    pub epoch: usize,
    /// Steps of the next epoch that are done.
    pub step: usize,
}
