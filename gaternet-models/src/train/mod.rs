//! Training: a [`Recipe`] says what is trained and how, a [`Trainer`] does it on the processor or a GPU, in a folder
//! that holds all of the run, so that it goes on after an interruption at the step where it stood, to the same bits.
mod classes;
mod data;
mod error;
mod evaluation;
mod finite;
#[cfg(feature = "cuda")]
mod gpu;
mod identity;
mod images;
mod metrics;
mod observer;
mod phase;
mod position;
mod recipe;
mod run_folder;
mod run_lock;
mod start;
mod state;
mod steps;
mod summary;
mod sums;
mod trainer;

pub use classes::{METADATA as CLASS_NAMES, Mismatch, fitted, of_checkpoint as class_names};
pub use data::{Data, Skipped};
pub use error::{Error, Result};
pub use evaluation::{
    EvaluatedBatch, Evaluation, EvaluationOptions, TestSet, evaluate, evaluate_with, predictions,
};
pub use identity::OPTIONS;
pub use metrics::Metrics;
pub use observer::{Observer, PhaseStart, Steps, Warning};
pub use position::{PhaseName, Position};
pub use recipe::{Architecture, GaterTraining, Recipe};
pub use run_folder::{Existing, RunFolder};
pub use summary::{Spread, Summary, SummaryFile};
pub use sums::EpochSums;
pub use trainer::{Outcome, Place, Results, Standing, Trainer};
