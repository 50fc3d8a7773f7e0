//! Digests by which a file says whether it is as it was written: XXH3, 128 bits, of every tensor
//! and every metadata entry, in one more metadata entry. They find damage, not malice.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use twox_hash::xxhash3_128::Hasher;

use super::header::Unique;
use super::tensor_info::Dtype;

/// The metadata entry.
pub(super) const KEY: &str = "gaternet_digest";
/// Before each digest. An entry with these is the digests even if its name was damaged, which must
/// not pass for a file without any.
const MARK: &str = "xxh3-128:";

/// Digests by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digests {
    metadata: Unique<String>,
    tensors: Unique<String>,
}

impl Digests {
    /// Takes them out of the metadata of a file, which has to be as they say and is of tensors of
    /// these names; `None` if another program wrote it. `Err` names what is damaged.
    pub(super) fn take<'a>(
        metadata: &mut BTreeMap<String, String>,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<Option<Digests>, String> {
        let entry = metadata.remove(KEY);
        if let Some(name) = metadata.iter().find_map(|(name, text)| is_marked(text).then_some(name))
        {
            return Err(format!("metadata `{name}`"));
        }
        let Some(text) = entry else { return Ok(None) };
        let digests: Digests =
            serde_json::from_str(&text).map_err(|_| format!("metadata `{KEY}`"))?;
        for (name, text) in &*metadata {
            if digests.metadata.0.get(name) != Some(&of_text(name, text)) {
                return Err(format!("metadata `{name}`"));
            }
        }
        let lost = |name: &&String| !metadata.contains_key(*name);
        if let Some(name) = digests.metadata.0.keys().find(lost) {
            return Err(format!("metadata `{name}`, which is not there,"));
        }
        let names: BTreeMap<_, _> = names.map(|name| (name, ())).collect();
        if let Some(name) = names.keys().find(|name| !digests.tensors.0.contains_key(**name)) {
            return Err(format!("tensor `{name}`"));
        }
        if let Some(name) = digests.tensors.0.keys().find(|name| !names.contains_key(name)) {
            return Err(format!("tensor `{name}`, which is not there,"));
        }
        Ok(Some(digests))
    }

    pub(super) fn of_tensor(&self, name: &str) -> Option<&str> {
        self.tensors.0.get(name).map(String::as_str)
    }
}

/// The metadata entry of a file of these metadata and tensors, whose digests are given.
pub(super) fn entry(
    metadata: &BTreeMap<String, String>,
    tensors: &BTreeMap<&str, String>,
) -> String {
    let metadata: BTreeMap<_, _> =
        metadata.iter().map(|(name, text)| (name, of_text(name, text))).collect();
    json!({ "metadata": metadata, "tensors": tensors }).to_string()
}

/// Whether a metadata entry looks like the digests.
pub(super) fn is_marked(text: &str) -> bool {
    text.contains(MARK)
}

fn of_text(name: &str, text: &str) -> String {
    let mut hasher = Hasher::new();
    add_name(&mut hasher, name);
    hasher.write(text.as_bytes());
    finish(&hasher)
}

/// That of a tensor, whose elements are [added](Self::add) as they lie in the file.
pub(super) struct TensorDigest(Hasher);

impl TensorDigest {
    pub(super) fn new(name: &str, dtype: Dtype, shape: &[usize]) -> TensorDigest {
        let mut hasher = Hasher::new();
        add_name(&mut hasher, name);
        add_name(&mut hasher, &dtype.to_string());
        hasher.write(&(shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|&size| hasher.write(&(size as u64).to_le_bytes()));
        TensorDigest(hasher)
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(super) fn finish(&self) -> String {
        finish(&self.0)
    }
}

/// With its length, so that what follows cannot be taken for a part of it.
fn add_name(hasher: &mut Hasher, name: &str) {
    hasher.write(&(name.len() as u64).to_le_bytes());
    hasher.write(name.as_bytes());
}

fn finish(hasher: &Hasher) -> String {
    format!("{MARK}{:032x}", hasher.finish_128())
}
