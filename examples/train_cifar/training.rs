//! A run: its phases, one after the other, from where its folder says it stands.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use gaternet::core::checkpoint::Checkpoint;
use gaternet::core::nn::Module;
use gaternet::kernels::Device;
use gaternet::models::{GatedNet, Model, PlanOptions};

use crate::data::BUILT_IN;
use crate::evaluation::Evaluation;
use crate::gpu;
use crate::images::Images;
use crate::phase::{Phase, PhaseName};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::run_folder::{Existing, Log, Metrics, RunFolder};
use crate::sets::Sets;
use crate::state::{self, Saved, same_run};
use crate::table::{millions, percent, print_table};

/// A model, its data and its folder, ready to run.
pub(crate) struct Training {
    recipe: Recipe,
    data_name: &'static str,
    images: Images,
    device: Device,
    model: Model,
    folder: RunFolder,
    /// Everything that the results depend on; a run can go on only with the same.
    identity: BTreeMap<String, String>,
    stand: Stand,
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

impl Training {
    /// Finds everything that can be wrong with the input, and writes nothing.
    pub(crate) fn new(
        recipe: Recipe,
        sets: &Sets,
        folder: RunFolder,
        existing: Existing,
        device: &Device,
    ) -> Result<Training> {
        folder.check(existing)?;
        let mut model = recipe.model(sets.images[0].classes().len())?;
        let images = Images::new(sets, &recipe)?;
        if let Model::Gated(model) = &model {
            model.check_targets(recipe.size())?;
            let (train, batch) = (images.loader().dataset().len(), recipe.batch_size);
            ensure!(
                !(model.config().gater.batch_norm && (batch == 1 || train % batch == 1)),
                "--batch-size {batch} makes a step of 1 image, of {train}, and --gater-batch-norm needs 2 of them: \
                 choose another --batch-size"
            );
        }
        gpu::check_model(device, &model, &recipe)?;
        let identity = identity(&recipe, sets, &model, device)?;
        let stand = match existing {
            Existing::Resume => stand(&folder, &identity)?,
            Existing::Refuse | Existing::Replace => Stand::Begin,
        };
        if matches!(stand, Stand::Begin) {
            recipe.load_checkpoints(&model)?;
        }
        if let (Model::Gated(gated), Some(_)) = (&model, recipe.target_latency()) {
            let gated = gated.as_ref().clone();
            model = Model::Gated(measured(gated, &recipe, &folder, &stand)?.into());
        }
        let (device, data_name) = (device.clone(), sets.name);
        Ok(Training { recipe, data_name, images, device, model, folder, identity, stand })
    }

    /// Trains every epoch; after each, evaluates, saves the model, adds a line of metrics and saves where it
    /// stands. Returns the last line, or `None` if the budget was spent before.
    pub(crate) fn run(&self, budget: &mut Budget) -> Result<Option<Metrics>> {
        self.announce();
        let saved = match &self.stand {
            Stand::Begin => {
                self.folder.clear()?;
                if let Model::Gated(model) = &self.model
                    && let Some(latency) = model.latency()
                {
                    let path = self.folder.latency_path();
                    fs::write(&path, serde_json::to_string(latency)? + "\n")
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
                None
            }
            Stand::After(saved) => Some(saved),
            Stand::Complete => {
                let log = Log::open(self.folder.metrics_path(), self.recipe.epochs)?;
                eprintln!("complete: nothing is left to do");
                return self.finish(&log, None);
            }
        };
        let in_training = saved.is_some_and(|saved| saved.phase == PhaseName::Training);
        if !in_training && let Some(mut phase) = Phase::pretraining(&self.recipe, &self.model)? {
            self.restore(saved, &mut phase)?;
            let mut log = Log::open(self.folder.pretraining_path(), phase.epoch())?;
            self.run_phase(&mut phase, &mut log, budget)?;
            if phase.epoch() < phase.epochs() {
                return Ok(None);
            }
            phase.model().save(self.folder.gater_path(), &self.metadata(log.epochs()))?;
        }
        let mut phase = Phase::training(&self.recipe, &self.model)?;
        if in_training {
            self.restore(saved, &mut phase)?;
        }
        let mut log = Log::open(self.folder.metrics_path(), phase.epoch())?;
        let last = self.run_phase(&mut phase, &mut log, budget)?;
        if phase.epoch() < phase.epochs() {
            return Ok(None);
        }
        self.folder.remove_state()?;
        self.finish(&log, last)
    }

    fn restore(&self, saved: Option<&Saved>, phase: &mut Phase) -> Result<()> {
        saved.map_or(Ok(()), |saved| saved.restore(&self.model, phase))
    }

    /// Runs the epochs of a phase that are left, as far as the budget goes.
    fn run_phase(
        &self,
        phase: &mut Phase,
        log: &mut Log,
        budget: &mut Budget,
    ) -> Result<Option<Evaluation>> {
        let save = |phase: &Phase| {
            state::save(&self.folder.state_path(), &self.model, phase, &self.identity)
        };
        if phase.epoch() == 0 {
            // From here on to its end, a run has a state.
            save(phase)?;
        }
        let progress = Progress::new(phase, self.images.steps())?;
        let mut last = None;
        while phase.epoch() < phase.epochs() && !budget.is_spent() {
            let kept = match (phase.name(), phase.epoch()) {
                (PhaseName::Pretraining, _) | (_, 0) => "no model was saved".to_owned(),
                (_, epoch) => format!("{} is of epoch {epoch}", self.folder.model_path().display()),
            };
            let (metrics, evaluation) =
                phase.run_epoch(&self.recipe, &self.images, &self.device, &progress, &kept)?;
            progress.epoch(&metrics);
            let before = last.as_ref().map_or(&[][..], |last: &Evaluation| &last.dead_layers);
            progress.warn_of(&evaluation.dead_layers, before);
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
        progress.finish();
        Ok(last)
    }

    /// For the model file of the last of these epochs.
    fn metadata(&self, epochs: &[Metrics]) -> BTreeMap<String, String> {
        let mut metadata = self.identity.clone();
        if let Some(Metrics { epoch, test_accuracy, .. }) = epochs.last() {
            metadata.insert("epoch".to_owned(), epoch.to_string());
            metadata.insert("test_accuracy".to_owned(), test_accuracy.to_string());
        }
        metadata
    }

    fn announce(&self) {
        let (train, test) = (self.images.loader().dataset().len(), self.images.test().images.len());
        let name = match self.data_name {
            BUILT_IN => "the built-in set (--data DIR trains on CIFAR or image files)",
            name => name,
        };
        let gated = if self.recipe.gated.is_some() { "gated" } else { "plain" };
        eprintln!("{gated} {} on {name}, {train} + {test} images", self.recipe.backbone);
        let pretraining = self.recipe.gated.as_ref().map_or(0, |gated| gated.pretrain);
        eprintln!(
            "{} parameters, {}{} epochs of {} steps, seed {}, results in {}",
            self.model.parameter_count(),
            if pretraining > 0 { format!("{pretraining} + ") } else { String::new() },
            self.recipe.epochs,
            self.images.steps(),
            self.recipe.seed,
            self.folder.dir().display()
        );
        if !matches!(self.device, Device::Cpu) {
            eprintln!("on {}", self.device);
        }
        if let Stand::After(Saved { phase, epoch, .. }) = &self.stand {
            eprintln!("goes on after epoch {epoch} of the {phase}");
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
        ]);
        let rows: Vec<_> =
            self.identity.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        print_table(&rows);
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
            ("data", self.data_name.to_owned()),
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
        print_table(&rows);
        Ok(Some(last.clone()))
    }
}

fn identity(
    recipe: &Recipe,
    sets: &Sets,
    model: &Model,
    device: &Device,
) -> Result<BTreeMap<String, String>> {
    let (kind, config) = match model {
        Model::Plain(model) => ("plain", serde_json::to_string(model.config())?),
        Model::Gated(model) => ("gated", serde_json::to_string(model.config())?),
    };
    let [train, test] = &sets.images;
    let mut identity = recipe.metadata();
    if !matches!(device, Device::Cpu) {
        identity.insert("device".to_owned(), "cuda".to_owned());
        identity.insert("dtype".to_owned(), recipe.dtype.to_string());
    }
    for (name, value) in [
        ("model", kind.to_owned()),
        ("config", config),
        ("data", sets.name.to_owned()),
        ("test_images", test.len().to_string()),
        ("train_images", train.len().to_string()),
    ] {
        identity.insert(name.to_owned(), value);
    }
    Ok(identity)
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

/// Where the run in a folder stands.
fn stand(folder: &RunFolder, identity: &BTreeMap<String, String>) -> Result<Stand> {
    let state = folder.state_path();
    if state.exists() {
        return Ok(Stand::After(Saved::load(&state, identity)?));
    }
    let path = folder.model_path();
    if !path.exists() {
        return Ok(Stand::Begin);
    }
    let model = Checkpoint::load(&path)?;
    same_run(&model, identity)?;
    if model.metadata.get("epoch") == identity.get("epochs") {
        return Ok(Stand::Complete);
    }
    bail!(
        "cannot resume: {} is missing, and {} is of a run that is not complete",
        state.display(),
        path.display()
    )
}
