//! Training: a [`Recipe`] says what is trained and how, a [`Trainer`] does it on the processor or a
//! GPU, in a folder that holds all of the run. A run that was interrupted goes on at the step where
//! it stood, to the same bits.
//!
//! ```
//! use gaternet_core::data::{Augment, InMemory};
//! use gaternet_core::optim::{Decay, Schedule};
//! use gaternet_models::train::{
//!     Data, Existing, Metrics, Observer, Outcome, PhaseName, Place, Recipe, RunFolder, Trainer,
//! };
//! use gaternet_models::{GatedConfig, GaterConfig, Model};
//!
//! /// Images of 16x16 pixels, every other one bright.
//! fn shades(count: usize) -> gaternet_core::Result<InMemory> {
//!     let image = |i: usize| [[60_u8, 190][i % 2]; 3 * 16 * 16];
//!     let labels = (0..count).map(|i| i % 2).collect();
//!     let classes = ["dark", "bright"].map(str::to_owned).to_vec();
//!     InMemory::new((0..count).flat_map(image).collect(), [3, 16, 16], labels, classes)
//! }
//!
//! /// What is seen of the training; it could end it, too.
//! struct Lines;
//!
//! impl Observer for Lines {
//!     fn epoch_ends(&mut self, phase: PhaseName, metrics: &Metrics) {
//!         println!("{phase}: {metrics:?}");
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?; let dir = dir.path().join("run");
//! let gater = GaterConfig { depth: 8, width: 0.25, ..GaterConfig::default() };
//! let recipe = Recipe {
//!     epochs: 3,
//!     batch_size: 8,
//!     schedule: Schedule::new(0.1, Decay::Cosine { last: 0.0 }).with_warmup(0.1),
//!     ema: Some(0.9),
//!     augment: Augment { crop_padding: 2, ..Augment::train() },
//!     ..Recipe::gated(GatedConfig { gater, ..GatedConfig::cifar(8, 2) })
//! };
//! let data = Data::new("shades", shades(32)?, shades(16)?);
//! // And `device: Device::best()`, for a GPU.
//! let place = Place { existing: Existing::Resume, ..Place::new(&dir) };
//!
//! // An epoch now; what is left whenever the program runs again.
//! let trainer = Trainer::new(recipe.clone(), &data, place.clone())?;
//! assert!(matches!(trainer.run_epochs(1, &mut Lines)?, Outcome::Paused(_)));
//! let trainer = Trainer::new(recipe, &data, place)?;
//! let Outcome::Complete(results) = trainer.run(&mut Lines)? else { panic!("nobody stopped it") };
//! assert_eq!(results.epochs.len(), 3);
//!
//! let model = Model::load(RunFolder::new(&dir).model_path())?;
//! assert_eq!(model.classes(), 2);
//! # Ok(()) }
//! ```
//!
//! [`evaluate`] measures a model by itself: accuracy, open gates and MACs on a [`TestSet`].

mod classes;
mod data;
mod error;
mod evaluation;
mod finite;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod gpu_state;
mod identity;
mod images;
mod metrics;
mod mismatch;
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

pub use classes::{METADATA as CLASS_NAMES, fitted, of_checkpoint as class_names};
pub use data::{Data, Skipped};
pub use error::{Error, Result};
pub use evaluation::{
    EvaluatedBatch, Evaluation, EvaluationOptions, TestSet, evaluate, evaluate_with, predictions,
};
pub use identity::OPTIONS;
pub use metrics::Metrics;
pub use mismatch::Mismatch;
pub use observer::{Observer, PhaseStart, Steps, Warning};
pub use position::{PhaseName, Position};
pub use recipe::{Architecture, GaterTraining, Recipe};
pub use run_folder::{Existing, RunFolder};
pub use summary::{Spread, Summary, SummaryFile};
pub use sums::EpochSums;
pub use trainer::{Outcome, Place, Results, Standing, Trainer};
