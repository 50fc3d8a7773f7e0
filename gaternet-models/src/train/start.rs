//! What a run begins with, or goes on from.

use std::fs;

use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::data::Dataset;

use super::error::{Error, Result};
use super::identity::Identity;
use super::images::Images;
use super::recipe::Recipe;
use super::run_folder::RunFolder;
use super::state::Saved;
use crate::{GatedNet, Model, PlanOptions};

/// Where a run stands.
pub(super) enum Stand {
    Begin,
    After(Box<Saved>),
    Complete,
}

/// `Err` if a training step would have too few images for a batch norm.
pub(super) fn check_last_batch(model: &Model, images: &Images, recipe: &Recipe) -> Result<()> {
    let least = model.min_train_batch(images.size())?;
    let (all, batch) = (images.train().len(), recipe.batch_size);
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
    Err(Error::SmallBatch {
        batch_size: batch,
        step: batch.min(last(batch)),
        images: all,
        least,
        nearest: nearest.into_iter().flatten().collect(),
        drop_last: batch >= least && !recipe.drop_last,
    })
}

/// The model with its latency: as it was measured when the run began, so that a run that goes on
/// has the same.
pub(super) fn measured(
    model: GatedNet,
    recipe: &Recipe,
    images: &Images,
    folder: &RunFolder,
    stand: &Stand,
) -> Result<GatedNet> {
    let size = images.size();
    let latency = match stand {
        Stand::Begin => {
            let batch = recipe.gater.latency_batch;
            let options = PlanOptions { size, batch, ..PlanOptions::default() };
            // From outside the pool every pass would wait for a worker to wake up.
            rayon::scope(|_| model.measure_latency(options))?
        }
        Stand::After(_) | Stand::Complete => {
            let path = folder.latency_path();
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            serde_json::from_str(&text)
                .map_err(Error::damaged_by(&path, " is no measured latency"))?
        }
    };
    let model = model.with_latency(latency)?;
    model.check_targets(size)?;
    Ok(model)
}

/// What there is of a run that goes on.
pub(super) enum Begun {
    /// Its state.
    State(Checkpoint),
    /// Its model: it is complete.
    Model(Checkpoint),
}

impl Begun {
    pub(super) fn find(folder: &RunFolder) -> Result<Option<Begun>> {
        let (state, model) = (folder.state_path(), folder.model_path());
        Ok(if state.exists() {
            Some(Begun::State(Checkpoint::load(&state)?))
        } else if model.exists() {
            Some(Begun::Model(Checkpoint::load(&model)?))
        } else {
            None
        })
    }

    pub(super) fn file(&self) -> &Checkpoint {
        match self {
            Begun::State(file) | Begun::Model(file) => file,
        }
    }

    /// Where the run stands, if it is of this identity.
    pub(super) fn stand(self, folder: &RunFolder, identity: &Identity) -> Result<Stand> {
        identity.check(self.file())?;
        let model = match self {
            Begun::State(file) => return Ok(Stand::After(Saved::new(file)?.into())),
            Begun::Model(file) => file,
        };
        let entry = |key: &str| model.metadata.get(key)?.parse::<usize>().ok();
        let done = entry("epoch");
        if done.is_none() || done != entry("epochs") {
            return Err(Error::NoState { state: folder.state_path(), model: model.path.clone() });
        }
        match identity.fewer_epochs(&model) {
            Some(epochs) => Ok(Stand::After(Saved::of_complete(model, epochs).into())),
            None => Ok(Stand::Complete),
        }
    }
}
