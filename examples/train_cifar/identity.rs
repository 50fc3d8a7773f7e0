//! What makes a run this run: everything that its results depend on.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use gaternet::core::checkpoint::Checkpoint;
use gaternet::core::data::Dataset;
use gaternet::kernels::Device;
use gaternet::models::Model;
use serde_json::Value;

use crate::classes;
use crate::options::Options;
use crate::recipe::Recipe;
use crate::sets::Sets;

/// Metadata key of the number of epochs, which may grow.
const EPOCHS: &str = "epochs";

/// Metadata key of the model's configuration.
const CONFIG: &str = "config";

/// Settings by name, as the files of a run store them. Two runs with the same are one run.
pub(crate) struct Identity {
    metadata: BTreeMap<String, String>,
    /// Beside it: how the run was asked for.
    options: Options,
}

impl Identity {
    pub(crate) fn new(
        recipe: &Recipe,
        sets: &Sets,
        model: &Model,
        device: &Device,
    ) -> Result<Identity> {
        let (kind, config) = match model {
            Model::Plain(model) => ("plain", serde_json::to_string(model.config())?),
            Model::Gated(model) => ("gated", serde_json::to_string(model.config())?),
        };
        let [train, test] = &sets.images;
        let mut metadata = recipe.metadata();
        if !matches!(device, Device::Cpu) {
            metadata.insert("device".to_owned(), "cuda".to_owned());
            metadata.insert("dtype".to_owned(), recipe.dtype.to_string());
        }
        for (name, value) in [
            ("model", kind.to_owned()),
            (CONFIG, config),
            ("data", sets.name().to_owned()),
            ("test_images", test.len().to_string()),
            ("train_images", train.len().to_string()),
            (classes::METADATA, serde_json::to_string(train.classes())?),
        ] {
            metadata.insert(name.to_owned(), value);
        }
        let options = recipe.options.clone();
        metadata.insert(Options::METADATA.to_owned(), options.to_metadata()?);
        Ok(Identity { metadata, options })
    }

    /// All of it, and the options, for a file of the run.
    pub(crate) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Epochs of the run that `file` is of, if they are fewer than here: the run is to go on
    /// beyond its end.
    pub(crate) fn fewer_epochs(&self, file: &Checkpoint) -> Option<usize> {
        let of = |metadata: &BTreeMap<String, String>| metadata.get(EPOCHS)?.parse::<usize>().ok();
        let there = of(&file.metadata)?;
        of(&self.metadata).filter(|&here| there < here).map(|_| there)
    }

    /// `Err` naming the first difference, unless the file was written by this run, or by this run
    /// when it was to have fewer epochs.
    pub(crate) fn check(&self, file: &Checkpoint) -> Result<()> {
        let of_file = |key: &str| file.metadata.get(key).map_or("none", String::as_str);
        let path = file.path.display();
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
            let free = [Options::METADATA, classes::METADATA].contains(&key);
            if there == here || free || key == EPOCHS && longer {
                continue;
            }
            let (name, there, here) = innermost(key, there, here);
            let hint = match self.options.is_empty() {
                true => "pass the options that it was begun with",
                false => "pass the options that it was begun with, or none",
            };
            bail!(
                "cannot resume: {path} is of a run with {name} = {there}, this one has {here}; \
                 {hint}, or choose another --out"
            );
        }
        Ok(())
    }
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
