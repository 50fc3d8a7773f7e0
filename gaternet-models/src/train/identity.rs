//! What makes a run this run: everything that its results depend on.

use std::collections::BTreeMap;

use gaternet_core::Error as ModelError;
use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::data::Dataset;
use gaternet_kernels::Device;
use serde::Serialize;
use serde_json::Value;

use super::classes;
use super::data::Data;
use super::error::{Error, Result};
use super::recipe::Recipe;
use crate::Model;

/// Metadata key of the number of epochs, which may grow.
const EPOCHS: &str = "epochs";

/// Metadata key of the model's configuration.
const CONFIG: &str = "config";

/// Metadata key of how the run was asked for, a list of words.
pub const OPTIONS: &str = "options";

/// Settings by name, as the files of a run store them. Two runs with the same are one run.
pub(super) struct Identity {
    metadata: BTreeMap<String, String>,
}

impl Identity {
    /// `options` are kept beside it: how the run was asked for.
    pub(super) fn new(
        recipe: &Recipe,
        data: &Data,
        model: &Model,
        device: &Device,
        options: &[String],
    ) -> Result<Identity> {
        let (kind, config) = match model {
            Model::Plain(model) => ("plain", json(CONFIG, model.config())?),
            Model::Gated(model) => ("gated", json(CONFIG, model.config())?),
        };
        let mut metadata = recipe.metadata();
        if !matches!(device, Device::Cpu) {
            metadata.insert("device".to_owned(), "cuda".to_owned());
            metadata.insert("dtype".to_owned(), recipe.dtype.to_string());
        }
        for (name, value) in [
            ("model", kind.to_owned()),
            (CONFIG, config),
            ("data", data.name.clone()),
            ("test_images", data.test.len().to_string()),
            ("train_images", data.train.len().to_string()),
            (classes::METADATA, json(classes::METADATA, data.train.classes())?),
            (OPTIONS, json(OPTIONS, options)?),
        ] {
            metadata.insert(name.to_owned(), value);
        }
        Ok(Identity { metadata })
    }

    /// All of it, and the options, for a file of the run.
    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Epochs of the run that `file` is of, if they are fewer than here: the run is to go on
    /// beyond its end.
    pub(super) fn fewer_epochs(&self, file: &Checkpoint) -> Option<usize> {
        let of = |metadata: &BTreeMap<String, String>| metadata.get(EPOCHS)?.parse::<usize>().ok();
        let there = of(&file.metadata)?;
        of(&self.metadata).filter(|&here| there < here).map(|_| there)
    }

    /// `Err` naming the first difference, unless the file was written by this run, or by this run
    /// when it was to have fewer epochs.
    pub(super) fn check(&self, file: &Checkpoint) -> Result<()> {
        let of_file = |key: &str| file.metadata.get(key).map_or("none", String::as_str);
        let longer = self.fewer_epochs(file).is_some();
        // The device of the processor is not written.
        let device = ("device".to_owned(), "cpu".to_owned());
        let moved = !self.metadata.contains_key(&device.0) && of_file(&device.0) != "none";
        let entries = self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        // Last: what an option has set is named better by an entry of its own.
        let (config, others): (Vec<_>, Vec<_>) = entries.partition(|(key, _)| *key == CONFIG);
        let moved = moved.then_some((device.0.as_str(), device.1.as_str()));
        for (key, here) in others.into_iter().chain(moved).chain(config) {
            let there = of_file(key);
            // Classes have been compared with the images.
            let free = [OPTIONS, classes::METADATA].contains(&key);
            if there == here || free || key == EPOCHS && longer {
                continue;
            }
            let (name, there, here) = innermost(key, there, here);
            return Err(Error::OtherRun { path: file.path.clone(), name, there, here });
        }
        Ok(())
    }
}

/// `value` for the metadata entry `field`.
pub(super) fn json(field: &'static str, value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        let rule = "must be what JSON can hold";
        ModelError::Config { field, value: error.to_string(), rule }.into()
    })
}

/// Two different values; of two JSON objects or lists the first entry that differs, with its path.
fn innermost(key: &str, there: &str, here: &str) -> (String, String, String) {
    let as_they_are = || (key.to_owned(), there.to_owned(), here.to_owned());
    let [Ok(there), Ok(here)] = [there, here].map(serde_json::from_str::<Value>) else {
        return as_they_are();
    };
    let differing = descend(key.to_owned(), &there, &here);
    if !there.is_object() && !there.is_array() { as_they_are() } else { differing }
}

fn descend(path: String, there: &Value, here: &Value) -> (String, String, String) {
    let none = Value::Null;
    let text = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match (there, here) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            let of = |object: &serde_json::Map<_, _>, key: &String| -> Value {
                object.get(key).unwrap_or(&none).clone()
            };
            let first = keys.into_iter().find(|key| a.get(*key) != b.get(*key));
            match first {
                Some(key) => descend(format!("{path}.{key}"), &of(a, key), &of(b, key)),
                None => (path, text(there), text(here)),
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            match (0..a.len()).find(|&i| a[i] != b[i]) {
                Some(i) => descend(format!("{path}[{i}]"), &a[i], &b[i]),
                None => (path, text(there), text(here)),
            }
        }
        _ => (path, text(there), text(here)),
    }
}
