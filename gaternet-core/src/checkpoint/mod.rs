//! Checkpoints: tensors and text by name in one safetensors file, as PyTorch reads and writes them.
//!
//! [`save`] never leaves half a file: a crash or a full disk leaves the file that was there before.
//! [`Checkpoint::load_into`] sets all of a model or nothing.

mod read;
mod temporary;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use temporary::{remove_stale_temporary_files, replace_file};
pub use write::save;

use crate::nn::State;
use crate::{Error, Misshapen, Result, Shape, Tensor};

/// What a checkpoint stores under one name.
#[derive(Debug, Clone)]
pub enum TensorValue {
    /// Weights, statistics, momenta. Read from f16, bf16, f32 and f64; written as f32.
    F32(Tensor),
    /// Counters, labels. Read from u8 to u32 and i8 to i64; written as i64.
    I64 {
        /// Sizes; `()` for a counter.
        shape: Shape,
        /// The elements, row-major.
        values: Vec<i64>,
    },
}

impl TensorValue {
    /// A single number, shape `()`.
    #[must_use]
    pub fn counter(value: i64) -> TensorValue {
        TensorValue::I64 { shape: Shape::from([]), values: vec![value] }
    }

    /// Sizes.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        match self {
            TensorValue::F32(tensor) => tensor.shape(),
            TensorValue::I64 { shape, .. } => shape,
        }
    }

    /// Element type and shape, as in `f32 (64, 10)`.
    fn kind(&self) -> String {
        let dtype = match self {
            TensorValue::F32(_) => "f32",
            TensorValue::I64 { .. } => "i64",
        };
        format!("{dtype} {}", self.shape())
    }
}

impl From<&State> for TensorValue {
    fn from(state: &State) -> TensorValue {
        match state {
            State::Parameter(parameter) => TensorValue::F32(parameter.tensor()),
            State::Buffer(buffer) => TensorValue::F32(buffer.tensor()),
            State::Counter(counter) => TensorValue::counter(counter.get()),
        }
    }
}

/// The contents of a checkpoint file. Every f32 was finite in the file.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The file, for messages.
    pub path: PathBuf,
    /// Tensors by name.
    pub tensors: BTreeMap<String, TensorValue>,
    /// Text by name.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The tensors whose names start with `prefix`, without it: one model of a file that holds
    /// several, or a model without its optimiser.
    #[must_use]
    pub fn part(&self, prefix: &str) -> Checkpoint {
        let inner = |(name, value): (&String, &TensorValue)| {
            Some((name.strip_prefix(prefix)?.to_owned(), value.clone()))
        };
        Checkpoint {
            path: self.path.clone(),
            tensors: self.tensors.iter().filter_map(inner).collect(),
            metadata: self.metadata.clone(),
        }
    }

    /// Sets every parameter, buffer and counter of `state` to the tensor of its name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] listing every name that only one of the two has, and every tensor of
    /// another shape or type. Then nothing was changed.
    pub fn load_into(&self, state: &[(String, State)]) -> Result<()> {
        let names: BTreeMap<_, _> = state.iter().map(|(name, state)| (name, state)).collect();
        let missing = names.keys().filter(|name| !self.tensors.contains_key(**name));
        let missing: Vec<_> = missing.map(|&name| name.clone()).collect();
        let unexpected = self.tensors.keys().filter(|name| !names.contains_key(name));
        let unexpected: Vec<_> = unexpected.cloned().collect();

        let pairs = state
            .iter()
            .filter_map(|(name, state)| self.tensors.get(name).map(|value| (name, state, value)));
        let misshapen: Vec<_> = pairs
            .clone()
            .filter_map(|(name, state, value)| {
                let (expected, got) = (TensorValue::from(state).kind(), value.kind());
                (expected != got).then(|| Misshapen { name: name.clone(), expected, got })
            })
            .collect();
        if !(missing.is_empty() && unexpected.is_empty() && misshapen.is_empty()) {
            let path = self.path.clone();
            return Err(Error::Checkpoint { path, missing, unexpected, misshapen });
        }
        for (_, state, value) in pairs {
            match (state, value) {
                (State::Parameter(parameter), TensorValue::F32(tensor)) => parameter.set(tensor)?,
                (State::Buffer(buffer), TensorValue::F32(tensor)) => buffer.set(tensor)?,
                (State::Counter(counter), TensorValue::I64 { values, .. }) => {
                    values.iter().for_each(|&value| counter.set(value));
                }
                // Excluded above: the types differ.
                (State::Parameter(_) | State::Buffer(_), TensorValue::I64 { .. })
                | (State::Counter(_), TensorValue::F32(_)) => {}
            }
        }
        Ok(())
    }
}
