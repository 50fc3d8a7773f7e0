//! A run: its phases, one after the other, from where its folder says it stands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gaternet::core::checkpoint::{self, Checkpoint};
use gaternet::core::data::{Dataset, SYNTHETIC};
use gaternet::core::nn::Module;
use gaternet::kernels::Device;
use gaternet::models::{GatedNet, Model, PlanOptions};
use serde_json::json;

use crate::evaluation::Evaluation;
use crate::gpu;
use crate::identity::Identity;
use crate::image_check::Skipped;
use crate::images::Images;
use crate::interrupt::{Interrupt, Interrupted};
use crate::note::note;
use crate::phase::{Phase, PhaseName, Work};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::run_folder::{Existing, Log, Metrics, RunFolder};
use crate::run_lock::RunLock;
use crate::sets::Sets;
use crate::state::{self, Position, Saved};
use crate::table::{millions, percent, print_table};

/// A model, its data and its folder, ready to run.
pub(crate) struct Training {
    recipe: Recipe,
    data_name: String,
    images: Images,
    device: Device,
    model: Model,
    folder: RunFolder,
    /// The folder of --out: this one, or that of several runs.
    out: PathBuf,
    existing: Existing,
    /// Everything that the results depend on; a run can go on only with the same.
    identity: Identity,
    stand: Stand,
    /// Image files that were left out.
    skipped: Vec<Skipped>,
    /// Of a folder that was there before.
    lock: Option<RunLock>,
}

/// Where a run stands.
enum Stand {
    Begin,
    After(Saved),
    Complete,
}

/// How many more epochs may run; `None` for all.
pub(crate) struct Budget(pub(crate) Option<usize>);

impl Budget {
    fn spend(&mut self) {
        self.0 = self.0.map(|left| left.saturating_sub(1));
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0 == Some(0)
    }
}

/// What a run works in.
pub(crate) struct Place<'a> {
    pub(crate) folder: RunFolder,
    /// The folder of --out: this one, or that of several runs.
    pub(crate) out: &'a Path,
    pub(crate) existing: Existing,
    pub(crate) device: &'a Device,
    /// Nothing is written.
    pub(crate) dry_run: bool,
}

impl Training {
    /// Finds everything that can be wrong with the input, and writes nothing but a lock.
    pub(crate) fn new(
        recipe: Recipe,
        sets: &Sets,
        skipped: Vec<Skipped>,
        place: Place<'_>,
    ) -> Result<Training> {
        let Place { folder, out, existing, device, dry_run } = place;
        let lock = match folder.dir().is_dir() && !dry_run {
            true => Some(folder.lock()?),
            false => None,
        };
        folder.check(existing)?;
        let mut model = recipe.model(sets.images[0].classes().len())?;
        let begun = match existing {
            Existing::Resume => Begun::find(&folder)?,
            Existing::Refuse | Existing::Replace => None,
        };
        let sets = recipe.fitted(sets, begun.as_ref().map(Begun::file))?;
        let images = Images::new(&sets, &recipe)?;
        check_last_batch(&model, &images, &recipe)?;
        if let Model::Gated(model) = &model {
            model.check_targets(recipe.size())?;
        }
        gpu::check_model(device, &model, &recipe)?;
        let identity = Identity::new(&recipe, &sets, &model, device)?;
        let stand = begun.map_or(Ok(Stand::Begin), |begun| begun.stand(&folder, &identity))?;
        if matches!(stand, Stand::Begin) {
            recipe.load_checkpoints(&model)?;
        }
        if let (Model::Gated(gated), Some(_)) = (&model, recipe.target_latency()) {
            let gated = gated.as_ref().clone();
            model = Model::Gated(measured(gated, &recipe, &folder, &stand)?.into());
        }
        let (device, data_name) = (device.clone(), sets.name().to_owned());
        Ok(Training {
            recipe,
            data_name,
            images,
            device,
            model,
            folder,
            out: out.to_path_buf(),
            existing,
            identity,
            stand,
            skipped,
            lock,
        })
    }

    /// Trains every epoch; after each, evaluates, saves the model, adds a line of metrics and saves
    /// where it stands. Returns the last line, or `None` if the budget was spent before.
    pub(crate) fn run(
        &mut self,
        budget: &mut Budget,
        interrupt: &Interrupt,
    ) -> Result<Option<Metrics>> {
        if self.lock.is_none() {
            self.lock = Some(self.folder.lock()?);
            // Another process may have been here since.
            self.folder.check(self.existing)?;
        }
        checkpoint::remove_stale_temporary_files(self.folder.dir())?;
        self.announce();
        let saved = match &self.stand {
            Stand::Begin => {
                self.begin()?;
                None
            }
            Stand::After(saved) => Some(saved),
            Stand::Complete => {
                let log = Log::open(self.folder.metrics_path(), self.recipe.epochs)?;
                note(format_args!("complete: nothing is left to do"));
                return self.finish(&log, None);
            }
        };
        let steps = self.images.steps();
        let in_training = saved.is_some_and(|saved| saved.position.phase == PhaseName::Training);
        if !in_training && let Some(mut phase) = Phase::pretraining(&self.recipe, &self.model)? {
            saved.map_or(Ok(()), |saved| saved.restore(&self.model, &mut phase, steps))?;
            let mut log = Log::open(self.folder.pretraining_path(), phase.epoch())?;
            self.run_phase(&mut phase, &mut log, budget, interrupt)?;
            if phase.epoch() < phase.epochs() {
                return Ok(None);
            }
            phase.model().save(self.folder.gater_path(), &self.metadata(log.epochs()))?;
        }
        let mut phase = Phase::training(&self.recipe, &self.model)?;
        if in_training && let Some(saved) = saved {
            saved.restore(&self.model, &mut phase, steps)?;
        }
        let mut log = Log::open(self.folder.metrics_path(), phase.epoch())?;
        let last = self.run_phase(&mut phase, &mut log, budget, interrupt)?;
        if phase.epoch() < phase.epochs() {
            return Ok(None);
        }
        self.folder.remove_state()?;
        self.finish(&log, last)
    }

    /// Makes the folder that of a new run.
    fn begin(&self) -> Result<()> {
        self.folder.clear()?;
        if let Model::Gated(model) = &self.model
            && let Some(latency) = model.latency()
        {
            let path = self.folder.latency_path();
            fs::write(&path, serde_json::to_string(latency)? + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if !self.skipped.is_empty() {
            let path = self.folder.skipped_path();
            let line = |Skipped { path, reason }: &Skipped| {
                format!("{}\n", json!({ "path": path, "reason": reason }))
            };
            let lines: String = self.skipped.iter().map(line).collect();
            fs::write(&path, lines).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Runs the epochs of a phase that are left, as far as the budget goes.
    fn run_phase(
        &self,
        phase: &mut Phase,
        log: &mut Log,
        budget: &mut Budget,
        interrupt: &Interrupt,
    ) -> Result<Option<Evaluation>> {
        let save = |phase: &Phase| {
            state::save(&self.folder.state_path(), &self.model, phase, &self.identity)
        };
        let progress = Progress::new(phase, self.images.steps())?;
        let (recipe, images, device) = (&self.recipe, &self.images, &self.device);
        let mut last = None;
        while phase.epoch() < phase.epochs() && !budget.is_spent() {
            let kept = self.kept(phase);
            let work = Work { recipe, images, device, interrupt, kept: &kept };
            let trained = match phase.run_steps(&work, &progress) {
                Err(error) if !error.is::<Interrupted>() => return Err(error),
                trained => trained,
            };
            // An evaluation may fail, or be ended: the epoch is not lost then.
            save(phase)?;
            let ended = trained.and_then(|()| phase.end_epoch(&work, &progress));
            if ended.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
                progress.clear();
                note(format_args!("{}", self.how_to_go_on(phase)));
            }
            let (metrics, evaluation) = ended?;
            progress.epoch(&metrics);
            let before = last.as_ref().map_or(&[][..], |last: &Evaluation| &last.dead_layers);
            if phase.gater_has_learnt() {
                progress.warn_of(&evaluation.dead_layers, before);
            }
            if phase.name() == PhaseName::Training {
                let metadata = self.metadata(std::slice::from_ref(&metrics));
                phase.with_averages(|| self.folder.save_model(&self.model, &metadata))?;
            }
            log.append(metrics)?;
            // Last: what is not in the state is done again.
            save(phase)?;
            budget.spend();
            last = Some(evaluation);
        }
        progress.clear();
        Ok(last)
    }

    /// What there is of a run whose next epoch fails.
    fn kept(&self, phase: &Phase) -> String {
        match (phase.name(), phase.epoch()) {
            (PhaseName::Pretraining, _) | (_, 0) => "no model was saved".to_owned(),
            (_, epoch) => format!("{} is of epoch {epoch}", self.folder.model_path().display()),
        }
    }

    fn how_to_go_on(&self, phase: &Phase) -> String {
        let Position { phase, epoch, step } = phase.position();
        let program = std::env::args().next().unwrap_or_default();
        format!(
            "saved after step {step} of {} in epoch {} of the {phase}; go on with\n  {program} \
             --out {} --resume",
            self.images.steps(),
            epoch + 1,
            self.out.display()
        )
    }

    /// For the model file of the last of these epochs.
    fn metadata(&self, epochs: &[Metrics]) -> BTreeMap<String, String> {
        let mut metadata = self.identity.metadata().clone();
        if let Some(Metrics { epoch, test_accuracy, .. }) = epochs.last() {
            metadata.insert("epoch".to_owned(), epoch.to_string());
            metadata.insert("test_accuracy".to_owned(), test_accuracy.to_string());
        }
        metadata
    }

    fn announce(&self) {
        let (train, test) = (self.images.loader().dataset().len(), self.images.test().images.len());
        let name = match self.data_name.as_str() {
            SYNTHETIC => "the built-in set (--data DIR trains on CIFAR or image files)",
            name => name,
        };
        let gated = if self.recipe.gated.is_some() { "gated" } else { "plain" };
        let backbone = &self.recipe.backbone;
        note(format_args!("{gated} {backbone} on {name}, {train} + {test} images"));
        if !self.skipped.is_empty() {
            let skipped = self.skipped.len();
            note(format_args!("without {skipped} image files that cannot be read"));
        }
        let pretraining = self.recipe.gated.as_ref().map_or(0, |gated| gated.pretrain);
        note(format_args!(
            "{} parameters, {}{} epochs of {} steps, seed {}, results in {}",
            self.model.parameter_count(),
            if pretraining > 0 { format!("{pretraining} + ") } else { String::new() },
            self.recipe.epochs,
            self.images.steps(),
            self.recipe.seed,
            self.folder.dir().display()
        ));
        if !matches!(self.device, Device::Cpu) {
            note(format_args!("on {}", self.device));
        }
        if let Stand::After(saved) = &self.stand {
            let Position { phase, epoch, step } = saved.position;
            match (step, saved.complete()) {
                (_, true) => note(format_args!(
                    "goes on beyond its end, after epoch {epoch}: the learning rate is that of {} \
                     epochs from here on, and velocities begin at 0",
                    self.recipe.epochs
                )),
                (0, _) => note(format_args!("goes on after epoch {epoch} of the {phase}")),
                _ => note(format_args!(
                    "goes on after step {step} of epoch {} of the {phase}",
                    epoch + 1
                )),
            }
        }
    }

    /// `--dry-run`: what a run would do.
    pub(crate) fn describe(&self) -> Result<()> {
        self.announce();
        let cost = self.model.cost(self.recipe.size(), None)?;
        let gates = match &self.model {
            Model::Gated(model) if model.plan().group() > 1 => {
                let plan = model.plan();
                format!("{} in {} groups", plan.gates(), plan.outputs())
            }
            Model::Gated(model) => model.plan().gates().to_string(),
            Model::Plain(_) => "0".to_owned(),
        };
        print_table(&[
            ("MACs per image, plain backbone", millions(cost.backbone)),
            ("MACs per image, gater", millions(cost.gater)),
            ("gates", gates),
        ])?;
        let rows: Vec<_> = self
            .identity
            .metadata()
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        print_table(&rows)?;
        Ok(())
    }

    /// Prints the results.
    fn finish(&self, log: &Log, evaluation: Option<Evaluation>) -> Result<Option<Metrics>> {
        let Some(last) = log.epochs().last() else { return Ok(None) };
        let plain = self.model.cost(self.recipe.size(), None)?.backbone;
        let seconds: f64 = log.epochs().iter().map(|epoch| epoch.seconds).sum();
        let (ratio, gated) = (last.macs_ratio, last.macs_ratio * plain);
        let target = match self.recipe.target_macs() {
            Some(target) => format!(", the target is {target}x"),
            None => String::new(),
        };
        let mut rows = vec![
            ("data", self.data_name.clone()),
            ("test accuracy", percent(last.test_accuracy)),
            ("gates open", percent(last.gate_density)),
            ("MACs per image, plain backbone", millions(plain)),
            (
                "MACs per image, gater included",
                format!("{} ({ratio:.3}x{target})", millions(gated)),
            ),
            ("time of training", format!("{seconds:.0} s")),
            ("metrics", self.folder.metrics_path().display().to_string()),
            ("model", self.folder.model_path().display().to_string()),
        ];
        if let (Some(ratio), Some(target)) = (last.latency_ratio, self.recipe.target_latency()) {
            let text = format!("{ratio:.3}x the plain network's, the target is {target}x");
            rows.insert(5, ("predicted time of a batch, gater included", text));
        }
        if let Some(Evaluation { loss, .. }) = evaluation {
            rows.insert(2, ("test loss", format!("{loss:.4}")));
        }
        print_table(&rows)?;
        Ok(Some(last.clone()))
    }
}

/// `Err` if a training step would have too few images for a batch norm.
fn check_last_batch(model: &Model, images: &Images, recipe: &Recipe) -> Result<()> {
    let least = model.min_train_batch(recipe.size())?;
    let (all, batch) = (images.loader().dataset().len(), recipe.batch_size);
    let last = |batch: usize| match all % batch {
        0 => batch,
        _ if recipe.drop_last => batch,
        rest => rest,
    };
    if batch.min(last(batch)) >= least {
        return Ok(());
    }
    let trains = |size: &usize| last(*size).min(*size) >= least;
    let nearest = [(1..batch).rev().find(trains), (batch + 1..=all).find(trains)];
    let nearest: Vec<_> = nearest.iter().flatten().map(usize::to_string).collect();
    let choose = match nearest.is_empty() {
        true => "there are too few images".to_owned(),
        false => format!("choose --batch-size {}", nearest.join(" or ")),
    };
    let drop = match batch >= least && !recipe.drop_last {
        true => ", or leave that step out with --drop-last",
        false => "",
    };
    bail!(
        "--batch-size {batch} makes a step of {} image, of {all}, and a batch norm of this network \
         needs {least} of them: {choose}{drop}",
        batch.min(last(batch))
    )
}

/// The model with its latency: as it was measured when the run began, so that a run that goes on has the same.
fn measured(
    model: GatedNet,
    recipe: &Recipe,
    folder: &RunFolder,
    stand: &Stand,
) -> Result<GatedNet> {
    let latency = match stand {
        Stand::Begin => {
            let batch = recipe.gated.as_ref().map_or(1, |gated| gated.latency_batch);
            let options = PlanOptions { size: recipe.size(), batch, ..PlanOptions::default() };
            // From outside the pool every pass would wait for a worker to wake up.
            rayon::scope(|_| model.measure_latency(options))?
        }
        Stand::After(_) | Stand::Complete => {
            let path = folder.latency_path();
            let context = || format!("cannot read {}", path.display());
            let text = fs::read_to_string(&path).with_context(context)?;
            serde_json::from_str(&text).with_context(context)?
        }
    };
    let model = model.with_latency(latency)?;
    model.check_targets(recipe.size())?;
    Ok(model)
}

/// What there is of a run that goes on.
enum Begun {
    /// Its state.
    State(Checkpoint),
    /// Its model: it is complete.
    Model(Checkpoint),
}

impl Begun {
    fn find(folder: &RunFolder) -> Result<Option<Begun>> {
        let (state, model) = (folder.state_path(), folder.model_path());
        Ok(if state.exists() {
            Some(Begun::State(Checkpoint::load(&state)?))
        } else if model.exists() {
            Some(Begun::Model(Checkpoint::load(&model)?))
        } else {
            None
        })
    }

    fn file(&self) -> &Checkpoint {
        match self {
            Begun::State(file) | Begun::Model(file) => file,
        }
    }

    /// Where the run stands, if it is of this identity.
    fn stand(self, folder: &RunFolder, identity: &Identity) -> Result<Stand> {
        identity.check(self.file())?;
        let model = match self {
            Begun::State(file) => return Ok(Stand::After(Saved::new(file)?)),
            Begun::Model(file) => file,
        };
        let entry = |key: &str| model.metadata.get(key)?.parse::<usize>().ok();
        let done = entry("epoch");
        ensure!(
            done.is_some() && done == entry("epochs"),
            "cannot resume: {} is missing, and {} is of a run that is not complete",
            folder.state_path().display(),
            model.path.display()
        );
        match identity.fewer_epochs(&model) {
            Some(epochs) => Ok(Stand::After(Saved::of_complete(model, epochs))),
            None => Ok(Stand::Complete),
        }
    }
}
