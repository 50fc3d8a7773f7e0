//! Where a run stands: all that its next step depends on.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use gaternet_core::Tensor;
use gaternet_core::checkpoint::{self, Checkpoint, TensorValue};
use gaternet_core::nn::{Module, State};
use gaternet_core::optim::Optimizer;
use gaternet_kernels::Isa;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::identity::{Identity, json};
use super::observer::Warning;
use super::phase::{OptimizerState, Phase};
use super::position::{PhaseName, Position};
use super::sums::EpochSums;
use crate::Model;

/// Prefixes of the tensors.
const MODEL: &str = "model.";
const CLASSIFIER: &str = "classifier.";
const VELOCITY: &str = "velocity.";
const AVERAGE: &str = "average.";

/// What is wrong with a file whose contents do not fit each other.
const DAMAGED: &str = " is damaged";

/// Metadata key: updates that the averages have had.
const UPDATES: &str = "averaged_steps";

/// Metadata key: a list of the parameters that have no velocity, because they have rested so far.
const RESTED: &str = "without_velocity";

/// Sums over the steps that are done of an epoch.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct SavedSums {
    images: usize,
    correct: f64,
    loss: f64,
    open: f64,
    seconds: f64,
}

/// Order, augmentation and noise of a step follow from the seed and the step's number, so that
/// weights, statistics, velocities and averages are everything beside the position.
pub(super) fn save(path: &Path, model: &Model, phase: &Phase, identity: &Identity) -> Result<()> {
    let of = |prefix: &str, state: Vec<(String, State)>| -> Vec<(String, TensorValue)> {
        let entry = |(name, state)| (format!("{prefix}{name}"), TensorValue::from(&state));
        state.into_iter().map(entry).collect()
    };
    let tensors = |prefix: &str, state: Vec<(String, Tensor)>| -> Vec<(String, TensorValue)> {
        let entry = |(name, value)| (format!("{prefix}{name}"), TensorValue::F32(value));
        state.into_iter().map(entry).collect()
    };
    let mut all = of(MODEL, model.state());
    if phase.name == PhaseName::Pretraining {
        all.extend(of(CLASSIFIER, phase.model.state()));
    }
    all.extend(tensors(VELOCITY, phase.optimizer.state()));
    all.extend(phase.averages.as_ref().map_or(Vec::new(), |ema| tensors(AVERAGE, ema.state())));
    let sums = &phase.sums;
    let sums = SavedSums {
        images: sums.images,
        correct: sums.correct,
        loss: sums.loss,
        open: sums.open_gates,
        seconds: sums.elapsed().as_secs_f64(),
    };
    let mut metadata = identity.metadata().clone();
    let position = phase.position();
    let rested = phase.optimizer.parameters().filter(|parameter| parameter.velocity.is_none());
    let rested: Vec<_> = rested.map(|parameter| parameter.name).collect();
    for (key, value) in [
        ("phase", position.phase.to_string()),
        ("epoch", position.epoch.to_string()),
        ("step", position.step.to_string()),
        ("sums", json("sums", &sums)?),
        (RESTED, json(RESTED, &rested)?),
        ("instruction_set", Isa::current()?.to_string()),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    if let Some(averages) = &phase.averages {
        metadata.insert(UPDATES.to_owned(), averages.updates().to_string());
    }
    Ok(checkpoint::save(path, &all, &metadata)?)
}

/// A state of a run, or what is left of it when the run is complete.
pub(super) struct Saved {
    checkpoint: Checkpoint,
    pub(super) position: Position,
    /// What its user should know.
    pub(super) warning: Option<Warning>,
    sums: SavedSums,
    /// Whether velocities and averages are not there: of a run that was complete and goes on.
    complete: bool,
}

impl Saved {
    /// Of a file that was [`save`]d.
    pub(super) fn new(checkpoint: Checkpoint) -> Result<Saved> {
        let path = checkpoint.path.clone();
        let known = [MODEL, CLASSIFIER, VELOCITY, AVERAGE];
        let unknown = checkpoint
            .tensors
            .keys()
            .find(|name| !known.iter().any(|prefix| name.starts_with(prefix)));
        if let Some(name) = unknown {
            let what = format!(": `{name}` is not a tensor of a run's state");
            return Err(Error::damaged(&path, what));
        }
        let entry = |key: &str| checkpoint.metadata.get(key).map_or("none", String::as_str);
        let phase = PhaseName::of(entry("phase"));
        let number = |key: &str| entry(key).parse::<usize>().ok();
        let position = phase.zip(number("epoch")).zip(number("step"));
        let ((phase, epoch), step) = position.ok_or_else(|| {
            let [phase, epoch, step] = ["phase", "epoch", "step"].map(entry);
            let what = format!("phase {phase:?}, epoch {epoch:?}, step {step:?}");
            Error::damaged(&path, format!(": no state of a run: {what}"))
        })?;
        let sums = serde_json::from_str(entry("sums"))
            .map_err(Error::damaged_by(&path, ": no state of a run: sums"))?;
        let (here, there) = (Isa::current()?.to_string(), entry("instruction_set"));
        let warning =
            (here != there).then(|| Warning::OtherInstructions { there: there.to_owned(), here });
        let position = Position { phase, epoch, step };
        Ok(Saved { checkpoint, position, warning, sums, complete: false })
    }

    /// The end of a complete run, by its model.
    pub(super) fn of_complete(checkpoint: Checkpoint, epoch: usize) -> Saved {
        let position = Position { phase: PhaseName::Training, epoch, step: 0 };
        Saved { checkpoint, position, warning: None, sums: SavedSums::default(), complete: true }
    }

    /// Whether the run was complete, and goes on beyond its end.
    pub(super) fn complete(&self) -> bool {
        self.complete
    }

    /// Sets model and phase to where the run stood; `steps` make up an epoch.
    pub(super) fn restore(&self, model: &Model, phase: &mut Phase, steps: usize) -> Result<()> {
        let Position { epoch, step, .. } = self.position;
        let path = &self.checkpoint.path;
        if step > steps || epoch > phase.epochs {
            let of = phase.epochs;
            let what = format!(
                ": no state of this run: step {step} of {steps} after epoch {epoch} of {of}"
            );
            return Err(Error::damaged(path, what));
        }
        if self.complete {
            self.checkpoint.load_into(&model.state())?;
            return phase.resume(self.position, EpochSums::new(), None);
        }
        self.checkpoint.part(MODEL).load_into(&model.state())?;
        if phase.name == PhaseName::Pretraining {
            self.checkpoint.part(CLASSIFIER).load_into(&phase.model.state())?;
        }
        let [velocities, averages] = [VELOCITY, AVERAGE].map(|prefix| -> Result<Vec<_>> {
            let part = self.checkpoint.part(prefix).tensors.into_iter();
            let tensor = |(name, value)| match value {
                TensorValue::F32(tensor) => Ok((name, tensor)),
                _ => Err(Error::damaged(path, format!(": `{prefix}{name}` holds integers"))),
            };
            part.map(tensor).collect()
        });
        let SavedSums { images, correct, loss, open, seconds } = self.sums;
        let before = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let sums = EpochSums::going_on(images, [correct, loss, open], before);
        let updates = match self.checkpoint.metadata.get(UPDATES) {
            Some(updates) => updates.parse().map_err(Error::damaged_by(path, DAMAGED))?,
            None => 0,
        };
        let rested = self.checkpoint.metadata.get(RESTED).map_or("", String::as_str);
        let rested: Vec<String> =
            serde_json::from_str(rested).map_err(Error::damaged_by(path, DAMAGED))?;
        let velocities = velocities?;
        let there: HashSet<&str> = velocities.iter().map(|(name, _)| name.as_str()).collect();
        for parameter in phase.optimizer.parameters() {
            let name = parameter.name;
            let wanted = !rested.iter().any(|rested| rested == name);
            if there.contains(name) != wanted {
                let is = if wanted { "missing" } else { "there, of a parameter that had none" };
                return Err(Error::damaged(path, format!(": {VELOCITY}{name} is {is}")));
            }
        }
        let state = OptimizerState { velocities, averages: averages?, updates };
        let resumed = phase.resume(self.position, sums, Some(state));
        resumed.map_err(Error::damaged_by(path, DAMAGED))
    }
}
