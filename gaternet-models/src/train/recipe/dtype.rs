//! A [`DType`] in a file: its name.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

use crate::DType;

pub(super) fn serialize<S: Serializer>(dtype: &DType, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(dtype)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DType, D::Error> {
    let name = String::deserialize(from)?;
    let dtype = DType::ALL.into_iter().find(|dtype| dtype.to_string() == name);
    dtype.ok_or_else(|| D::Error::custom(format!("{name:?}: must be \"f32\" or \"bf16\"")))
}
