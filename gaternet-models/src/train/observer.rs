//! What a training tells of itself while it runs.

use std::fmt;
use std::path::{Path, PathBuf};

use super::metrics::Metrics;
use super::position::{PhaseName, Position};
use super::sums::EpochSums;

/// Who watches a training, and may end it. Every method has a default that does nothing, and `()`
/// is an observer that lets it run to the end in silence.
pub trait Observer {
    /// A phase begins or goes on.
    fn phase_begins(&mut self, phase: &PhaseStart) {
        let _ = phase;
    }

    /// Whether steps are looked at. On a GPU each look waits for the device, so that there is one
    /// of many steps, and none if nobody asks.
    fn watches_steps(&self) -> bool {
        false
    }

    /// Steps of an epoch are done.
    fn steps_done(&mut self, steps: &Steps<'_>) {
        let _ = steps;
    }

    /// All steps of the epoch are done, and the test set is evaluated.
    fn evaluation_begins(&mut self) {}

    /// An epoch is done.
    fn epoch_ends(&mut self, phase: PhaseName, metrics: &Metrics) {
        let _ = (phase, metrics);
    }

    /// The folder of the run holds this file now, of which nothing is lost any more: the model, or
    /// where the run stands.
    fn saved(&mut self, path: &Path) {
        let _ = path;
    }

    /// A phase has come to its end, or as far as it was to run.
    fn phase_ends(&mut self) {}

    /// Something that the run goes on with, and that its user should know.
    fn warning(&mut self, warning: &Warning) {
        let _ = warning;
    }

    /// Whether the run is to save where it stands, and to end. It is asked before every step and
    /// after every batch of an evaluation, so that it should be cheap: a look at a flag that a
    /// signal handler sets, at a clock.
    fn should_stop(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// A phase that begins.
#[derive(Debug, Clone, Copy)]
pub struct PhaseStart {
    /// Where it stands, at the start of an epoch or within one.
    pub position: Position,
    /// Epochs of the phase, those that are done included.
    pub epochs: usize,
    /// Steps of an epoch.
    pub steps: usize,
}

/// Steps that are done.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    /// The epoch they are of, from 1.
    pub epoch: usize,
    /// How many they are.
    pub steps: usize,
    /// Over the epoch so far.
    pub sums: &'a EpochSums,
}

/// What the user of a run should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Since the last epoch there is a gated convolution of which no image of the test set opens a
    /// filter.
    InactiveLayer {
        /// Its name.
        layer: String,
    },
    /// The file system has no locks.
    NoLocks {
        /// The folder of the run.
        dir: PathBuf,
    },
    /// The run has been computed with other instructions so far.
    OtherInstructions {
        /// Those it has used so far.
        there: String,
        /// Those that it uses from here on.
        here: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::InactiveLayer { layer } => write!(
                f,
                "warning: {layer} is inactive: no image of the test set opens one of its gates"
            ),
            Warning::NoLocks { dir } => write!(
                f,
                "warning: {} is on a file system without locks: nothing keeps a second run out of it",
                dir.display()
            ),
            Warning::OtherInstructions { there, here } => write!(
                f,
                "note: the run has used {there} so far, and goes on with {here}: the last digits of its numbers will \
                 be others"
            ),
        }
    }
}
