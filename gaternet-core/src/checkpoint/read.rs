//! Reading a checkpoint: whatever the bytes are, a [`Checkpoint`] or an error that says what is wrong.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::{Checkpoint, TensorValue};
use crate::{Error, Result, Shape, Tensor};

/// The largest header of the format, in bytes.
const MAX_HEADER: usize = 100_000_000;

impl Checkpoint {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Field`] if it is not a whole safetensors file or
    /// has a tensor of a type that is none of f16, bf16, f32, f64, u8 to u32 and i8 to i64,
    /// [`Error::NonFinite`] if a tensor holds a NaN or an infinity.
    pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let path = path.as_ref();
        let io = |source| Error::Io { action: "read", path: path.to_path_buf(), source };
        let bytes = fs::read(path).map_err(io)?;
        let (header, data) = split(path, &bytes)?;
        let tensors = header.tensors().into_iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let value = convert(path, &name, info, &data[start..end])?;
            Ok((name, value))
        });
        Ok(Checkpoint {
            path: path.to_path_buf(),
            tensors: tensors.collect::<Result<_>>()?,
            metadata: header.metadata().clone().unwrap_or_default().into_iter().collect(),
        })
    }
}

/// The parsed header, and the bytes that it describes completely.
fn split<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Metadata, &'a [u8])> {
    let fail = |field: &str, expected: String, got: String| Error::Field {
        path: path.to_path_buf(),
        field: field.into(),
        expected,
        got,
    };
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Err(fail("length", "at least 8 bytes".into(), bytes.len().to_string()));
    };
    let length = u64::from_le_bytes(*length);
    let limit = rest.len().min(MAX_HEADER);
    let split = usize::try_from(length).ok().filter(|&length| length <= limit);
    let Some((header, data)) = split.and_then(|length| rest.split_at_checked(length)) else {
        let expected = format!("at most {limit} bytes, in a file of {}", bytes.len());
        return Err(fail("header length", expected, length.to_string()));
    };
    // Checks that the tensors lie side by side from 0 on, each as long as its shape and type say.
    let header: Metadata = serde_json::from_slice(header).map_err(|error| {
        fail("header", "the JSON of a safetensors file".into(), format!("an error: {error}"))
    })?;
    if header.data_len() != data.len() {
        let expected = format!("{} bytes by the header", header.data_len());
        return Err(fail("tensors", expected, data.len().to_string()));
    }
    Ok((header, data))
}

fn convert(path: &Path, name: &str, info: &TensorInfo, data: &[u8]) -> Result<TensorValue> {
    let float = |values: Vec<f32>| {
        if !values.iter().all(|x| x.is_finite()) {
            return Err(Error::NonFinite { path: path.to_path_buf(), name: name.into() });
        }
        Ok(TensorValue::F32(Tensor::new(values, &info.shape[..])?))
    };
    let integer = |values| {
        let shape = Shape::from(&info.shape[..]);
        Ok(TensorValue::I64 { shape, values })
    };
    match info.dtype {
        Dtype::F16 => float(elements(data, |x| f16::from_le_bytes(x).to_f32())),
        Dtype::BF16 => float(elements(data, |x| bf16::from_le_bytes(x).to_f32())),
        Dtype::F32 => float(elements(data, f32::from_le_bytes)),
        Dtype::F64 => float(elements(data, |x| f64::from_le_bytes(x) as f32)),
        Dtype::U8 => integer(elements(data, |x| u8::from_le_bytes(x).into())),
        Dtype::I8 => integer(elements(data, |x| i8::from_le_bytes(x).into())),
        Dtype::U16 => integer(elements(data, |x| u16::from_le_bytes(x).into())),
        Dtype::I16 => integer(elements(data, |x| i16::from_le_bytes(x).into())),
        Dtype::U32 => integer(elements(data, |x| u32::from_le_bytes(x).into())),
        Dtype::I32 => integer(elements(data, |x| i32::from_le_bytes(x).into())),
        Dtype::I64 => integer(elements(data, i64::from_le_bytes)),
        other => Err(Error::Field {
            path: path.to_path_buf(),
            field: format!("type of tensor `{name}`"),
            expected: "f16, bf16, f32, f64, u8 to u32 or i8 to i64".into(),
            got: other.to_string(),
        }),
    }
}

/// The elements of `WIDTH` bytes each.
fn elements<const WIDTH: usize, T>(data: &[u8], convert: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    data.as_chunks().0.iter().map(|&bytes| convert(bytes)).collect()
}
