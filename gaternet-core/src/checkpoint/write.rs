//! Writing a checkpoint, all of it or nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorInfo};
use serde_json::{Map, Value, json};

use super::{TensorValue, replace_file};
use crate::{Error, Result};

/// Writes `tensors` and `metadata` to the safetensors file `path`. The same contents make the same
/// bytes.
///
/// They go to a temporary file in the same folder that then takes the place of `path`; on disk
/// before and after that, so that even a power failure leaves the old or the new file.
///
/// # Errors
/// [`Error::NonFinite`] if a tensor holds a NaN or an infinity (a diverged run must not replace its
/// last good checkpoint), [`Error::Config`] if a name occurs twice, [`Error::Io`] if the file cannot be
/// written. Then `path` is as it was before and the temporary file is gone.
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
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
    let mut end = 0;
    for (name, value) in tensors {
        let (dtype, bytes) = match value {
            TensorValue::F32(tensor) => (Dtype::F32, tensor.len() * size_of::<f32>()),
            TensorValue::I64 { values, .. } => (Dtype::I64, values.len() * size_of::<i64>()),
        };
        let shape = value.shape().dims().to_vec();
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
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn write_contents(
    file: &File,
    header: &[u8],
    tensors: &[(&String, &TensorValue)],
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header)?;
    for (_, value) in tensors {
        match value {
            TensorValue::F32(tensor) => {
                tensor.data().iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?;
            }
            TensorValue::I64 { values, .. } => {
                values.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?;
            }
        }
    }
    out.flush()
}
