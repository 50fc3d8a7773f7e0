//! Models of any kind to files and back: weights under their state-dict names, kind and
//! configuration in the metadata.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::checkpoint::{self, Checkpoint, CheckpointFile, Outline, TensorValue};
use gaternet_core::nn::{Module, State};
use gaternet_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::weights;

pub(crate) fn save(
    path: &Path,
    kind: &str,
    config: &impl Serialize,
    state: &[(String, State)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut metadata = metadata.clone();
    let config = serde_json::to_string(config).map_err(|error| Error::Field {
        path: path.to_path_buf(),
        field: "metadata config".to_owned(),
        expected: "a configuration that JSON can hold".to_owned(),
        got: error.to_string(),
    })?;
    metadata.insert("model".to_owned(), kind.to_owned());
    metadata.insert("config".to_owned(), config);
    let tensors: Vec<_> =
        state.iter().map(|(name, state)| (name.clone(), TensorValue::from(state))).collect();
    checkpoint::save(path, &tensors, &metadata)
}

pub(crate) fn load<C: DeserializeOwned, M: Module>(
    path: &Path,
    kind: &'static str,
    build: impl FnOnce(C, &Outline) -> Result<M>,
) -> Result<M> {
    let file = Checkpoint::open(path)?;
    weights::of_kind(file.outline(), kind)?;
    match file.outline().metadata.get("model") {
        Some(model) if model == kind => restore(file, build),
        other => Err(unknown_kind(file.outline(), kind, other.map(String::as_str))),
    }
}

/// Reads the weights of a model; memory is taken for them only once their names and shapes are
/// known to be those of the model.
pub(crate) fn restore<C: DeserializeOwned, M: Module>(
    file: CheckpointFile,
    build: impl FnOnce(C, &Outline) -> Result<M>,
) -> Result<M> {
    let outline = file.outline();
    let text = outline.metadata.get("config").map_or("", String::as_str);
    let config = serde_json::from_str(text).map_err(|error| Error::Field {
        path: outline.path.clone(),
        field: "metadata config".to_owned(),
        expected: "the configuration of the model".to_owned(),
        got: format!("{text:?}: {error}"),
    })?;
    let model = build(config, outline)?;
    let state = model.state();
    outline.check(&state)?;
    file.read()?.load_into(&state)?;
    Ok(model)
}

pub(crate) fn unknown_kind(file: &Outline, expected: &str, got: Option<&str>) -> Error {
    Error::Field {
        path: file.path.clone(),
        field: "metadata model".to_owned(),
        expected: expected.to_owned(),
        got: got.map_or_else(|| "none".to_owned(), |kind| format!("{kind:?}")),
    }
}
