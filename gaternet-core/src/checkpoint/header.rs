//! The header of a safetensors file: a JSON object of tensors by name, with text under
//! `__metadata__`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::tensor_info::TensorInfo;

/// What is no tensor.
pub(super) const METADATA: &str = "__metadata__";

/// What a header says, checked: the tensors lie side by side from 0 on, each as long as its shape
/// and type say.
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    /// By their place in the file.
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    /// `Err` says what is wrong.
    pub(super) fn parse(json: &[u8]) -> Result<Header, String> {
        let mut header: Header = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        // Tensors without elements have the offset of their neighbour.
        header.tensors.sort_by_key(|(_, info)| info.data_offsets);
        let mut end = 0;
        for (name, info) in &header.tensors {
            let (from, to) = info.data_offsets;
            if from != end || to < from {
                return Err(format!("tensor `{name}` is at {from}..{to}, expected from {end} on"));
            }
            let bytes = bytes(info).ok_or_else(|| {
                format!("tensor `{name}` of {} {:?} has no size", info.dtype, info.shape)
            })?;
            if to - from != bytes {
                let (dtype, shape) = (info.dtype, &info.shape);
                return Err(format!(
                    "tensor `{name}` has {} bytes, expected {bytes} for {dtype} {shape:?}",
                    to - from
                ));
            }
            end = to;
        }
        Ok(header)
    }

    /// Bytes of all tensors.
    pub(super) fn data_len(&self) -> usize {
        self.tensors.last().map_or(0, |(_, info)| info.data_offsets.1)
    }
}

/// Those of a tensor; `None` if there is no such number.
fn bytes(info: &TensorInfo) -> Option<usize> {
    // As if no size were 0, so that a 0 does not hide sizes whose product is too large.
    let sizes = info.shape.iter().map(|&size| size.max(1));
    sizes.clone().try_fold(8, usize::checked_mul)?;
    let bits = info.shape.iter().product::<usize>().checked_mul(info.dtype.bits())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut metadata = None;
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let twice = match &name[..] {
                        METADATA => metadata.replace(map.next_value::<Unique<String>>()?).is_some(),
                        _ => tensors.insert(name.clone(), map.next_value()?).is_some(),
                    };
                    if twice {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                }
                let metadata = metadata.map_or_else(BTreeMap::new, |Unique(entries)| entries);
                Ok(Header { metadata, tensors: tensors.into_iter().collect() })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// An object in which no name is twice. Most readers of JSON keep the last of them without a word.
#[derive(Debug)]
pub(super) struct Unique<T>(pub(super) BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique<T>, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if entries.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                }
                Ok(Unique(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}
