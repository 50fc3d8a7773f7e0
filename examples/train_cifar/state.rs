//! Where a run stands after an epoch: all that the next epoch depends on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use gaternet::core::Tensor;
use gaternet::core::checkpoint::{self, Checkpoint, TensorValue};
use gaternet::core::nn::{Module, State};
use gaternet::models::Model;

use crate::phase::{Phase, PhaseName};

/// Of the averages: updates made.
const UPDATES: &str = "averaged_steps";

/// Order, augmentation and noise of a step follow from the seed and the step's number, so that weights,
/// statistics, velocities and averages with the number of their updates are everything.
pub(crate) fn save(
    path: &Path,
    model: &Model,
    phase: &Phase,
    identity: &BTreeMap<String, String>,
) -> Result<()> {
    let of = |prefix: &str, state: Vec<(String, State)>| -> Vec<(String, TensorValue)> {
        let entry = |(name, state)| (format!("{prefix}{name}"), TensorValue::from(&state));
        state.into_iter().map(entry).collect()
    };
    let tensors = |prefix: &str, state: Vec<(String, Tensor)>| -> Vec<(String, TensorValue)> {
        let entry = |(name, value)| (format!("{prefix}{name}"), TensorValue::F32(value));
        state.into_iter().map(entry).collect()
    };
    let mut all = of("model.", model.state());
    if phase.name() == PhaseName::Pretraining {
        all.extend(of("classifier.", phase.model().state()));
    }
    all.extend(tensors("velocity.", phase.optimizer().state()));
    all.extend(phase.averages().map_or(Vec::new(), |ema| tensors("average.", ema.state())));
    let mut metadata = identity.clone();
    metadata.insert("phase".to_owned(), phase.name().to_string());
    metadata.insert("epoch".to_owned(), phase.epoch().to_string());
    if let Some(averages) = phase.averages() {
        metadata.insert(UPDATES.to_owned(), averages.updates().to_string());
    }
    Ok(checkpoint::save(path, &all, &metadata)?)
}

/// A state that was [`save`]d.
pub(crate) struct Saved {
    checkpoint: Checkpoint,
    pub(crate) phase: PhaseName,
    /// Epochs of the phase that are done.
    pub(crate) epoch: usize,
}

impl Saved {
    /// `Err` unless the file is of a run with this identity.
    pub(crate) fn load(path: &Path, identity: &BTreeMap<String, String>) -> Result<Saved> {
        let checkpoint = Checkpoint::load(path)?;
        same_run(&checkpoint, identity)?;
        let entry = |key: &str| checkpoint.metadata.get(key).map_or("none", String::as_str);
        let phase = PhaseName::of(entry("phase"));
        let epoch = entry("epoch").parse().ok();
        let read = phase.zip(epoch).with_context(|| {
            let (phase, epoch) = (entry("phase"), entry("epoch"));
            format!("{}: no state of a run: phase {phase:?}, epoch {epoch:?}", path.display())
        });
        let (phase, epoch) = read?;
        Ok(Saved { phase, epoch, checkpoint })
    }

    pub(crate) fn restore(&self, model: &Model, phase: &mut Phase) -> Result<()> {
        self.checkpoint.part("model.").load_into(&model.state())?;
        if phase.name() == PhaseName::Pretraining {
            self.checkpoint.part("classifier.").load_into(&phase.model().state())?;
        }
        let tensors = |prefix: &str| -> Vec<(String, Tensor)> {
            let tensor = |(name, value)| match value {
                TensorValue::F32(tensor) => Some((name, tensor)),
                TensorValue::I64 { .. } => None,
            };
            self.checkpoint.part(prefix).tensors.into_iter().filter_map(tensor).collect()
        };
        let updates = match self.checkpoint.metadata.get(UPDATES) {
            Some(updates) => updates.parse().with_context(|| {
                format!("{}: {UPDATES} is {updates}", self.checkpoint.path.display())
            })?,
            None => 0,
        };
        phase.resume(self.epoch, tensors("velocity."), (tensors("average."), updates))
    }
}

/// `Err` unless the file was written by a run with this identity.
pub(crate) fn same_run(file: &Checkpoint, identity: &BTreeMap<String, String>) -> Result<()> {
    let of_file = |key: &str| file.metadata.get(key).map_or("none", String::as_str);
    let differs = |(key, value): &(&String, &String)| of_file(key) != *value;
    // That of the CPU is not written.
    let (device, here) = ("device".to_owned(), "cpu".to_owned());
    let moved = !identity.contains_key(&device) && of_file(&device) != "none";
    let first = identity.iter().find(differs).or(moved.then_some((&device, &here)));
    if let Some((key, value)) = first {
        bail!(
            "cannot resume: {} is of a run with {key} = {}, this one has {value}; pass the same options, or \
             another --out",
            file.path.display(),
            of_file(key)
        );
    }
    Ok(())
}
