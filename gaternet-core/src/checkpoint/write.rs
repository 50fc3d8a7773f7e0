//! Writing a checkpoint, all of it or nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytemuck::NoUninit;
use serde_json::{Map, Value, json};

use super::digest::{self, TensorDigest};
use super::header::METADATA;
use super::tensor_info::{Dtype, TensorInfo};
use super::{TensorValue, replace_file};
use crate::{Error, Result};

/// Writes `tensors` and `metadata` to the safetensors file `path`. The same contents make the same
/// bytes.
///
/// One metadata entry more holds a digest of every tensor and entry, by which
/// [`Checkpoint::load`](super::Checkpoint::load) knows whether the file is as it was written.
///
/// They go to a temporary file in the same folder that then takes the place of `path`; on disk
/// before and after that, so that even a power failure leaves the old or the new file.
///
/// # Errors
/// [`Error::NonFinite`] if a tensor holds a NaN or an infinity (a diverged run must not replace its
/// last good checkpoint), [`Error::Config`] if a name occurs twice or a metadata entry holds
/// digests, [`Error::Io`] if the file cannot be written. Then `path` is as it was before and the
/// temporary file is gone.
pub fn save(
    path: impl AsRef<Path>,
    tensors: &[(String, TensorValue)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    for (name, value) in tensors {
        if let TensorValue::F32(tensor) = value
            && !tensor.data().iter().all(|x| x.is_finite())
        {
            return Err(Error::NonFinite { path: path.to_path_buf(), name: name.clone() });
        }
    }
    let mut tensors: Vec<_> = tensors.iter().map(|(name, value)| (name, value)).collect();
    // The wider type first keeps every tensor aligned in the file.
    tensors.sort_by_key(|(name, value)| (matches!(value, TensorValue::F32(_)), *name));
    let header = header(&tensors, metadata)?;
    replace_file(path, |file| write_contents(file, &header, &tensors))
}

/// The JSON header, padded with spaces to a multiple of 8 bytes.
fn header(
    tensors: &[(&String, &TensorValue)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    // First, so that no tensor has its name.
    let mut header = Map::from_iter([(METADATA.to_owned(), Value::Null)]);
    let mut digests = BTreeMap::new();
    let mut end = 0;
    for (name, value) in tensors {
        let (dtype, bytes) = match value {
            TensorValue::F32(tensor) => (Dtype::F32, tensor.len() * size_of::<f32>()),
            TensorValue::I64 { values, .. } => (Dtype::I64, values.len() * size_of::<i64>()),
        };
        let shape = value.shape().dims().to_vec();
        digests.insert(name.as_str(), digest(name, dtype, value));
        let info = TensorInfo { dtype, shape, data_offsets: (end, end + bytes) };
        end += bytes;
        if header.insert((*name).clone(), json!(info)).is_some() {
            return Err(Error::Config {
                field: "tensor name",
                value: (*name).clone(),
                rule: "must occur only once in a checkpoint",
            });
        }
    }
    let mut metadata = metadata.clone();
    metadata.remove(digest::KEY);
    if let Some((name, _)) = metadata.iter().find(|(_, text)| digest::is_marked(text)) {
        let rule = "must not hold digests of a checkpoint";
        return Err(Error::Config { field: "metadata", value: name.clone(), rule });
    }
    metadata.insert(digest::KEY.to_owned(), digest::entry(&metadata, &digests));
    header.insert(METADATA.to_owned(), json!(metadata));
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn digest(name: &str, dtype: Dtype, value: &TensorValue) -> String {
    let mut digest = TensorDigest::new(name, dtype, value.shape().dims());
    digest.add(&bytes(value));
    digest.finish()
}

fn write_contents(
    mut file: &File,
    header: &[u8],
    tensors: &[(&String, &TensorValue)],
) -> io::Result<()> {
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    tensors.iter().try_for_each(|(_, value)| file.write_all(&bytes(value)))
}

/// The elements as they lie in a file.
fn bytes(value: &TensorValue) -> Cow<'_, [u8]> {
    match value {
        TensorValue::F32(tensor) => little_endian(tensor.data()),
        TensorValue::I64 { values, .. } => little_endian(values),
    }
}

/// The bytes of `values`, which are those in memory where that is little-endian.
fn little_endian<T: NoUninit>(values: &[T]) -> Cow<'_, [u8]> {
    let bytes = bytemuck::cast_slice(values);
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytes);
    }
    let mut swapped = bytes.to_vec();
    swapped.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
    Cow::Owned(swapped)
}
