//! A run: its phases, one after the other, from where its folder says it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use gaternet_core::checkpoint;
use gaternet_core::data::Dataset;
use gaternet_kernels::Device;
use serde_json::json;

use super::data::{Data, Skipped};
use super::error::{Error, Result};
use super::evaluation::Evaluation;
#[cfg(feature = "cuda")]
use super::gpu;
use super::identity::{self, Identity};
use super::images::Images;
use super::metrics::{Log, Metrics};
use super::observer::{Observer, PhaseStart, Warning};
use super::phase::{Phase, Work};
use super::position::{PhaseName, Position};
use super::recipe::Recipe;
use super::run_folder::{Existing, RunFolder};
use super::run_lock::RunLock;
use super::start::{Begun, Stand, check_last_batch, measured};
use super::state;
use crate::Model;

/// Where a run works.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder of its results, which is made if there is none.
    pub folder: RunFolder,
    /// What becomes of results that are there.
    pub existing: Existing,
    /// Where the model is trained.
    pub device: Device,
    /// How the run was asked for, in the words of a program: kept in the metadata of its files
    /// under [`OPTIONS`](super::OPTIONS), and nothing that its results depend on.
    pub options: Vec<String>,
    /// Whether to write nothing: such a training can be looked at, not run.
    pub dry_run: bool,
}

impl Place {
    /// The folder `dir`, in which no results may be lost, and the processor.
    pub fn new(dir: impl Into<PathBuf>) -> Place {
        Place {
            folder: RunFolder::new(dir),
            existing: Existing::Refuse,
            device: Device::Cpu,
            options: Vec::new(),
            dry_run: false,
        }
    }
}

/// A model, its data and its folder, ready to run.
pub struct Trainer {
    recipe: Recipe,
    data_name: String,
    images: Images,
    device: Device,
    model: Model,
    folder: RunFolder,
    existing: Existing,
    /// Everything that the results depend on; a run can go on only with the same.
    identity: Identity,
    stand: Stand,
    skipped: Vec<Skipped>,
    /// Of a folder that was there before.
    lock: Option<RunLock>,
    dry_run: bool,
    warnings: Vec<Warning>,
}

impl fmt::Debug for Trainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trainer { recipe, data_name, device, folder, .. } = self;
        write!(f, "Trainer({recipe:?} on {data_name}, {device}, in {})", folder.dir().display())
    }
}

/// Where a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// At its start.
    Begins,
    /// After an interruption.
    GoesOn(Position),
    /// After the end of a complete run, which had fewer epochs: the learning rate is that of the
    /// new number of them from there on, and velocities and averages begin anew.
    GoesBeyond(Position),
    /// Nothing is left to do.
    Complete,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every epoch is done.
    Complete(Results),
    /// As many epochs are done as were asked for; [`Existing::Resume`] goes on.
    Paused(Position),
    /// The observer has stopped it; [`Existing::Resume`] goes on at the next step.
    Stopped(Position),
}

/// What a complete run has come to. The model is in [`RunFolder::model_path`].
#[derive(Debug)]
pub struct Results {
    /// Of all epochs.
    pub epochs: Vec<Metrics>,
    /// Of the last epoch, unless the run was complete before.
    pub evaluation: Option<Evaluation>,
}

impl Trainer {
    /// Finds everything that can be wrong with the input, and writes nothing but a lock.
    ///
    /// # Errors
    /// Those of [`Recipe::validate`], of reading a checkpoint, of images that do not fit the
    /// network, of a step with too few images, of what a GPU has no kernels for; [`Error::Exists`],
    /// [`Error::InUse`] and, for a run that goes on, [`Error::OtherRun`], [`Error::Classes`] and
    /// [`Error::Damaged`].
    pub fn new(recipe: Recipe, data: &Data, place: Place) -> Result<Trainer> {
        recipe.validate()?;
        let model = recipe.model(data.train.classes().len())?;
        Trainer::prepare(model, recipe, data, place)
    }

    /// The training of a model that a program has made itself, in place of the recipe's. Of its
    /// network the files of the run hold what [`Network`](crate::Network) says in its tensors: that
    /// a run goes on with the same ops is up to the program. It gets the weights of a run that goes
    /// on.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn with_model(model: Model, recipe: Recipe, data: &Data, place: Place) -> Result<Trainer> {
        let recipe = Recipe { network: (&model).into(), ..recipe };
        recipe.validate_training()?;
        Trainer::prepare(model, recipe, data, place)
    }

    fn prepare(mut model: Model, recipe: Recipe, data: &Data, place: Place) -> Result<Trainer> {
        let Place { folder, existing, device, options, dry_run } = place;
        let lock = match folder.dir().is_dir() && !dry_run {
            true => Some(folder.lock()?),
            false => None,
        };
        folder.check(existing)?;
        let begun = match existing {
            Existing::Resume => Begun::find(&folder)?,
            Existing::Refuse | Existing::Replace => None,
        };
        let data = recipe.fitted(data, begun.as_ref().map(Begun::file))?;
        let images = Images::new(&data, &recipe)?;
        check_last_batch(&model, &images, &recipe)?;
        if let Model::Gated(model) = &model {
            model.check_targets(images.size())?;
        }
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &device {
            gpu::check(device, &model, &recipe, &images)?;
        }
        let identity = Identity::new(&recipe, &data, &model, &device, &options)?;
        let stand = begun.map_or(Ok(Stand::Begin), |begun| begun.stand(&folder, &identity))?;
        if matches!(stand, Stand::Begin) {
            recipe.load_checkpoints(&model)?;
        }
        if let (Model::Gated(gated), Some(_)) = (&model, recipe.target_latency()) {
            let gated = gated.as_ref().clone();
            model = Model::Gated(measured(gated, &recipe, &images, &folder, &stand)?.into());
        }
        let saved = match &stand {
            Stand::After(saved) => saved.warning.clone(),
            Stand::Begin | Stand::Complete => None,
        };
        let warnings =
            saved.into_iter().chain(lock.as_ref().and_then(|lock| no_locks(&folder, lock)));
        Ok(Trainer {
            warnings: warnings.collect(),
            recipe,
            data_name: data.name,
            images,
            device,
            model,
            folder,
            existing,
            identity,
            stand,
            skipped: data.skipped,
            lock,
            dry_run,
        })
    }

    /// Trains every epoch that is left; after each, evaluates, saves the model, adds a line of
    /// metrics and saves where the run stands. The state is gone when the run is complete.
    ///
    /// # Errors
    /// [`Error::Diverged`]; what the system, the images or the GPU refuse. What was saved before
    /// stays, and a run goes on from it.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Outcome> {
        self.run_epochs(usize::MAX, observer)
    }

    /// [`run`](Self::run), but for at most so many epochs, those of pre-training included.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_epochs(mut self, epochs: usize, observer: &mut dyn Observer) -> Result<Outcome> {
        if self.dry_run {
            let rule = "such a training writes nothing, and cannot run";
            let value = "true".to_owned();
            return Err(gaternet_core::Error::Config { field: "dry_run", value, rule }.into());
        }
        if self.lock.is_none() {
            let lock = self.folder.lock()?;
            self.warnings.extend(no_locks(&self.folder, &lock));
            self.lock = Some(lock);
            // Another process may have been here since.
            self.folder.check(self.existing)?;
        }
        self.warnings.iter().for_each(|warning| observer.warning(warning));
        checkpoint::remove_stale_temporary_files(self.folder.dir())?;
        let mut budget = epochs;
        let saved = match &self.stand {
            Stand::Begin => {
                self.begin()?;
                None
            }
            Stand::After(saved) => Some(saved),
            Stand::Complete => {
                let log = Log::open(self.folder.metrics_path(), self.recipe.epochs)?;
                let epochs = log.epochs().to_vec();
                return Ok(Outcome::Complete(Results { epochs, evaluation: None }));
            }
        };
        let steps = self.images.steps();
        let in_training = saved.is_some_and(|saved| saved.position.phase == PhaseName::Training);
        if !in_training && let Some(mut phase) = Phase::pretraining(&self.recipe, &self.model)? {
            saved.map_or(Ok(()), |saved| saved.restore(&self.model, &mut phase, steps))?;
            let mut log = Log::open(self.folder.pretraining_path(), phase.epoch)?;
            match self.run_phase(&mut phase, &mut log, &mut budget, observer)? {
                ControlFlow::Break(()) => return Ok(Outcome::Stopped(phase.position())),
                ControlFlow::Continue(_) if phase.epoch < phase.epochs => {
                    return Ok(Outcome::Paused(phase.position()));
                }
                ControlFlow::Continue(_) => {}
            }
            phase.model.save(self.folder.gater_path(), &self.metadata_after(log.epochs()))?;
            observer.saved(&self.folder.gater_path());
        }
        let mut phase = Phase::training(&self.recipe, &self.model)?;
        if in_training && let Some(saved) = saved {
            saved.restore(&self.model, &mut phase, steps)?;
        }
        let mut log = Log::open(self.folder.metrics_path(), phase.epoch)?;
        let evaluation = match self.run_phase(&mut phase, &mut log, &mut budget, observer)? {
            ControlFlow::Break(()) => return Ok(Outcome::Stopped(phase.position())),
            ControlFlow::Continue(_) if phase.epoch < phase.epochs => {
                return Ok(Outcome::Paused(phase.position()));
            }
            ControlFlow::Continue(evaluation) => evaluation,
        };
        self.folder.remove_state()?;
        Ok(Outcome::Complete(Results { epochs: log.epochs().to_vec(), evaluation }))
    }

    /// Makes the folder that of a new run.
    fn begin(&self) -> Result<()> {
        self.folder.clear()?;
        if let Model::Gated(model) = &self.model
            && let Some(latency) = model.latency()
        {
            let path = self.folder.latency_path();
            let text = identity::json("latency", latency)? + "\n";
            fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        if !self.skipped.is_empty() {
            let path = self.folder.skipped_path();
            let line = |Skipped { path, reason }: &Skipped| {
                format!("{}\n", json!({ "path": path, "reason": reason }))
            };
            let lines: String = self.skipped.iter().map(line).collect();
            fs::write(&path, lines).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    /// Runs the epochs of a phase that are left, as far as the budget goes; `Break` if the observer
    /// has ended it. The evaluation is that of the last epoch.
    fn run_phase(
        &self,
        phase: &mut Phase,
        log: &mut Log,
        budget: &mut usize,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<(), Option<Evaluation>>> {
        let state_path = self.folder.state_path();
        let save = |phase: &Phase| state::save(&state_path, &self.model, phase, &self.identity);
        let (recipe, images, device) = (&self.recipe, &self.images, &self.device);
        let (position, epochs, steps) = (phase.position(), phase.epochs, images.steps());
        observer.phase_begins(&PhaseStart { position, epochs, steps });
        let mut last: Option<Evaluation> = None;
        while phase.epoch < phase.epochs && *budget > 0 {
            let kept = self.kept(phase);
            let work = Work { recipe, images, device, kept: &kept };
            let trained = phase.run_steps(&work, observer)?;
            // An evaluation may fail, or be ended: the epoch is not lost then.
            save(phase)?;
            observer.saved(&state_path);
            if trained.is_break() {
                observer.phase_ends();
                return Ok(ControlFlow::Break(()));
            }
            let ControlFlow::Continue((metrics, evaluation)) = phase.end_epoch(&work, observer)?
            else {
                observer.phase_ends();
                return Ok(ControlFlow::Break(()));
            };
            observer.epoch_ends(phase.name, &metrics);
            let before = last.as_ref().map_or(&[][..], |last| &last.inactive_layers);
            if phase.gater_has_learnt() {
                for layer in
                    evaluation.inactive_layers.iter().filter(|layer| !before.contains(layer))
                {
                    observer.warning(&Warning::InactiveLayer { layer: layer.clone() });
                }
            }
            let training = phase.name == PhaseName::Training;
            if training {
                let metadata = self.metadata_after(std::slice::from_ref(&metrics));
                phase.with_averages(|| self.folder.save_model(&self.model, &metadata))??;
            }
            log.append(metrics)?;
            // Last: what is not in the state is done again.
            save(phase)?;
            if training {
                observer.saved(&self.folder.model_path());
            }
            observer.saved(&state_path);
            *budget -= 1;
            last = Some(evaluation);
        }
        observer.phase_ends();
        Ok(ControlFlow::Continue(last))
    }

    /// What there is of a run whose next epoch fails.
    fn kept(&self, phase: &Phase) -> String {
        match (phase.name, phase.epoch) {
            (PhaseName::Pretraining, _) | (_, 0) => "no model was saved".to_owned(),
            (_, epoch) => format!("{} is of epoch {epoch}", self.folder.model_path().display()),
        }
    }

    /// For the model file of the last of these epochs.
    fn metadata_after(&self, epochs: &[Metrics]) -> BTreeMap<String, String> {
        let mut metadata = self.identity.metadata().clone();
        if let Some(Metrics { epoch, test_accuracy, .. }) = epochs.last() {
            metadata.insert("epoch".to_owned(), epoch.to_string());
            metadata.insert("test_accuracy".to_owned(), test_accuracy.to_string());
        }
        metadata
    }

    /// What is trained and how.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The model as it begins: with its weights of the start, also of a run that goes on.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The name of the data.
    #[must_use]
    pub fn data_name(&self) -> &str {
        &self.data_name
    }

    /// Numbers of training and test images.
    #[must_use]
    pub fn image_counts(&self) -> [usize; 2] {
        [self.images.train().len(), self.images.test().images.len()]
    }

    /// [H, W] of the images that the model sees, in pixels.
    #[must_use]
    pub fn image_size(&self) -> [usize; 2] {
        self.images.size()
    }

    /// Image files that were left out of the data.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.images.steps()
    }

    /// Where the model is trained.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The folder of the run.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Everything that the results depend on, as the files of the run name it.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        self.identity.metadata()
    }

    /// Where the run begins.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &self.stand {
            Stand::Begin => Standing::Begins,
            Stand::After(saved) if saved.complete() => Standing::GoesBeyond(saved.position),
            Stand::After(saved) => Standing::GoesOn(saved.position),
            Stand::Complete => Standing::Complete,
        }
    }

    /// What the user should know before it runs; [`run`](Self::run) tells the observer too.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// A warning if nothing keeps a second run out of the folder.
fn no_locks(folder: &RunFolder, lock: &RunLock) -> Option<Warning> {
    lock.open.then(|| Warning::NoLocks { dir: folder.dir().to_path_buf() })
}
