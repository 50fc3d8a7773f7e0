//! Checkpoints: tensors and text by name in one safetensors file, as PyTorch reads and writes them.
//!
//! [`save`] never leaves half a file: a crash or a full disk leaves the file that was there before.
//! [`Checkpoint::load_into`] sets all of a model or nothing.

mod digest;
mod foreign;
mod header;
mod read;
mod temporary;
mod tensor_info;
mod write;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

pub use read::CheckpointFile;
pub use temporary::{remove_stale_temporary_files, replace_file};
pub use write::save;

use crate::nn::State;
use crate::{Error, Misshapen, Result, Shape, Tensor};

/// Name of the model in the folder of a training run. Where a checkpoint is read, such a folder
/// stands for it.
pub const MODEL_FILE: &str = "model.safetensors";

/// What a checkpoint stores under one name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
}

/// What a number of a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Number {
    /// Weights, statistics, momenta.
    F32,
    /// Counters, labels.
    I64,
}

/// What is known of a [`TensorValue`] without its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorKind {
    /// Type of the elements.
    pub number: Number,
    /// Sizes.
    pub shape: Shape,
}

/// As in `f32 (64, 10)`.
impl fmt::Display for TensorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self.number {
            Number::F32 => "f32",
            Number::I64 => "i64",
        };
        write!(f, "{number} {}", self.shape)
    }
}

impl From<&TensorKind> for TensorKind {
    fn from(kind: &TensorKind) -> TensorKind {
        kind.clone()
    }
}

impl From<&TensorValue> for TensorKind {
    fn from(value: &TensorValue) -> TensorKind {
        let number = match value {
            TensorValue::F32(_) => Number::F32,
            TensorValue::I64 { .. } => Number::I64,
        };
        TensorKind { number, shape: value.shape().clone() }
    }
}

impl From<&State> for TensorKind {
    fn from(state: &State) -> TensorKind {
        let (number, shape) = match state {
            State::Parameter(parameter) => (Number::F32, parameter.shape()),
            State::Buffer(buffer) => (Number::F32, buffer.shape()),
            State::Counter(_) => (Number::I64, Shape::from([])),
        };
        TensorKind { number, shape }
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
pub struct Checkpoint<T = TensorValue> {
    /// The file, for messages.
    pub path: PathBuf,
    /// Tensors by name.
    pub tensors: BTreeMap<String, T>,
    /// Text by name.
    pub metadata: BTreeMap<String, String>,
}

/// A checkpoint whose numbers are not read: whether it fits a model is known before memory is taken
/// for it.
pub type Outline = Checkpoint<TensorKind>;

impl<T: Clone> Checkpoint<T> {
    /// The tensors whose names start with `prefix`, without it: one model of a file that holds
    /// several, or a model without its optimiser.
    #[must_use]
    pub fn part(&self, prefix: &str) -> Checkpoint<T> {
        let inner = |(name, value): (&String, &T)| {
            Some((name.strip_prefix(prefix)?.to_owned(), value.clone()))
        };
        Checkpoint {
            path: self.path.clone(),
            tensors: self.tensors.iter().filter_map(inner).collect(),
            metadata: self.metadata.clone(),
        }
    }
}

impl<T> Checkpoint<T>
where
    for<'a> TensorKind: From<&'a T>,
{
    /// Whether there is a tensor for every parameter, buffer and counter of `state`, of its shape,
    /// and no other one. Parameters without memory stay so.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] listing every name that only one of the two has, and every tensor of
    /// another shape or type.
    pub fn check(&self, state: &[(String, State)]) -> Result<()> {
        let names: BTreeSet<_> = state.iter().map(|(name, _)| name).collect();
        // In the order of the model: of a long list the first say most.
        let missing = state.iter().filter(|(name, _)| !self.tensors.contains_key(name));
        let missing: Vec<_> = missing.map(|(name, _)| name.clone()).collect();
        let unexpected = self.tensors.keys().filter(|name| !names.contains(name));
        let unexpected: Vec<_> = unexpected.cloned().collect();
        let misfit = |(name, state): &(String, State)| {
            let expected = <TensorKind as From<&State>>::from(state);
            let got = TensorKind::from(self.tensors.get(name)?);
            let name = name.clone();
            (expected != got).then(|| Misshapen {
                name,
                expected: expected.to_string(),
                got: got.to_string(),
            })
        };
        let misshapen: Vec<_> = state.iter().filter_map(misfit).collect();
        if missing.is_empty() && unexpected.is_empty() && misshapen.is_empty() {
            return Ok(());
        }
        Err(Error::Checkpoint { path: self.path.clone(), missing, unexpected, misshapen })
    }
}

impl Checkpoint {
    /// Sets every parameter, buffer and counter of `state` to the tensor of its name.
    ///
    /// # Errors
    /// Those of [`check`](Self::check). Then nothing was changed.
    pub fn load_into(&self, state: &[(String, State)]) -> Result<()> {
        self.check(state)?;
        let pairs = state.iter().filter_map(|(name, state)| Some((state, self.tensors.get(name)?)));
        for (state, value) in pairs {
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
