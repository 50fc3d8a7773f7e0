//! Reading a checkpoint: whatever the bytes are, a [`Checkpoint`] or an error that says what is
//! wrong.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::{bf16, f16};

use super::digest::{Digests, TensorDigest};
use super::header::Header;
use super::tensor_info::{Dtype, TensorInfo};
use super::{Checkpoint, MODEL_FILE, Number, Outline, TensorKind, TensorValue, foreign};
use crate::{Error, Result, Shape, Tensor};

/// Bytes of the length of the header.
const PREFIX: u64 = 8;
/// The largest header of the format, in bytes.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes by which a file that is none of ours is described.
const GLANCE: u64 = 64;
/// Bytes of a tensor that are read together; a multiple of every element's.
const CHUNK: usize = 1 << 18;

/// A file of which the header was read: names, types and shapes are known and memory is taken for
/// none of them.
#[derive(Debug)]
pub struct CheckpointFile {
    outline: Outline,
    /// By their place in the file.
    tensors: Vec<(String, TensorInfo)>,
    digests: Option<Digests>,
    file: File,
    /// Whether the tensors are known to fill the rest of the file: not of a pipe.
    measured: bool,
}

impl Checkpoint {
    /// Reads a safetensors file, or the `model.safetensors` of a folder.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and of [`CheckpointFile::read`].
    pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint> {
        Checkpoint::open(path)?.read()
    }

    /// Reads the header of a safetensors file, or of the `model.safetensors` of a folder. However
    /// large the file is, no more than its header is read.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::NotSafetensors`] if it is of another
    /// format, which is named, [`Error::Field`] if it was cut, its header breaks a rule of the
    /// format or a tensor is of a type that is none of f16, bf16, f32, f64, u8 to u32 and i8 to
    /// i64, [`Error::Damaged`] if the header is not what this library wrote.
    pub fn open(path: impl AsRef<Path>) -> Result<CheckpointFile> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push(MODEL_FILE);
        }
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        let mut file = File::open(&path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        let size = about.is_file().then_some(about.len());
        let json = read_header(&path, &mut file, size)?;
        let fail = |field: &str, expected: String, got: String| Error::Field {
            path: path.clone(),
            field: field.into(),
            expected,
            got,
        };
        let mut header = Header::parse(&json).map_err(|error| {
            let expected = "the JSON of a safetensors file".into();
            fail("header", expected, format!("an error: {error}"))
        })?;
        let rest = size.map(|size| size - PREFIX - json.len() as u64);
        if let Some(rest) = rest.filter(|&rest| rest != header.data_len() as u64) {
            let expected = format!("{} bytes by the header", header.data_len());
            return Err(fail("tensors", expected, rest.to_string()));
        }
        let names = header.tensors.iter().map(|(name, _)| name);
        let digests = Digests::take(&mut header.metadata, names)
            .map_err(|what| Error::Damaged { path: path.clone(), what })?;
        let mut tensors = BTreeMap::new();
        for (name, info) in &header.tensors {
            let number = number(info.dtype).ok_or_else(|| {
                let expected = "f16, bf16, f32, f64, u8 to u32 or i8 to i64".into();
                fail(&format!("type of tensor `{name}`"), expected, info.dtype.to_string())
            })?;
            tensors
                .insert(name.clone(), TensorKind { number, shape: Shape::from(&info.shape[..]) });
        }
        let outline = Outline { path, tensors, metadata: header.metadata };
        Ok(CheckpointFile {
            outline,
            tensors: header.tensors,
            digests,
            file,
            measured: size.is_some(),
        })
    }
}

impl CheckpointFile {
    /// What the file holds, without the numbers.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Reads the tensors, in one pass.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read or memory does not suffice, [`Error::Field`] if it
    /// does not end where its header says, [`Error::Damaged`] if a tensor is not what this library
    /// wrote, [`Error::NonFinite`] if a tensor holds a NaN or an infinity.
    pub fn read(mut self) -> Result<Checkpoint> {
        let Outline { path, metadata, .. } = self.outline;
        let mut tensors = BTreeMap::new();
        let mut buffer = vec![0; CHUNK];
        for (name, info) in self.tensors {
            let digest = self.digests.as_ref().and_then(|digests| digests.of_tensor(&name));
            let mut source = Source {
                path: &path,
                file: &mut self.file,
                buffer: &mut buffer,
                measured: self.measured,
            };
            let value = source.read(&name, &info, digest)?;
            tensors.insert(name, value);
        }
        let io = |source| Error::Io { action: "read", path: path.clone(), source };
        if self.file.read(&mut buffer[..1]).map_err(io)? > 0 {
            return Err(Error::Field {
                path,
                field: "tensors".into(),
                expected: "the bytes that the header tells of".into(),
                got: "more".into(),
            });
        }
        Ok(Checkpoint { path, tensors, metadata })
    }
}

/// The header of a file of `size` bytes, where that is known, as text.
fn read_header(path: &Path, file: &mut File, size: Option<u64>) -> Result<Vec<u8>> {
    let io = |source| Error::Io { action: "read", path: path.to_path_buf(), source };
    let mut read = |limit: u64| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Read::by_ref(file).take(limit).read_to_end(&mut bytes).map_err(io)?;
        Ok(bytes)
    };
    let foreign = |start: &[u8]| {
        let reason = foreign::describe(start);
        Err(Error::NotSafetensors { path: path.to_path_buf(), reason })
    };
    let start = read(PREFIX)?;
    let Ok(length) = start.as_slice().try_into().map(u64::from_le_bytes) else {
        return foreign(&start);
    };
    let limit = size.map_or(MAX_HEADER, |size| (size - PREFIX).min(MAX_HEADER));
    let header = read(if length <= limit { length } else { GLANCE.min(limit) })?;
    if header.first() != Some(&b'{') {
        return foreign(&[&start[..], &header[..header.len().min(GLANCE as usize)]].concat());
    }
    if header.len() as u64 == length {
        return Ok(header);
    }
    let there = size.unwrap_or(PREFIX + header.len() as u64);
    Err(Error::Field {
        path: path.to_path_buf(),
        field: "header length".into(),
        expected: format!("at most {limit} bytes, in a file of {there}"),
        got: length.to_string(),
    })
}

/// What numbers of a type become; `None` if they cannot be read.
fn number(dtype: Dtype) -> Option<Number> {
    match dtype {
        Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => Some(Number::F32),
        Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 | Dtype::U32 | Dtype::I32 | Dtype::I64 => {
            Some(Number::I64)
        }
        _ => None,
    }
}

/// Where tensors are read from, one after the other.
struct Source<'a> {
    path: &'a Path,
    file: &'a mut File,
    buffer: &'a mut [u8],
    measured: bool,
}

impl Source<'_> {
    /// The next tensor, which has this digest if there is one.
    fn read(&mut self, name: &str, info: &TensorInfo, digest: Option<&str>) -> Result<TensorValue> {
        Ok(match info.dtype {
            Dtype::F16 => self.floats(name, info, digest, |x| f16::from_le_bytes(x).to_f32())?,
            Dtype::BF16 => self.floats(name, info, digest, |x| bf16::from_le_bytes(x).to_f32())?,
            Dtype::F32 => self.floats(name, info, digest, f32::from_le_bytes)?,
            Dtype::F64 => self.floats(name, info, digest, |x| f64::from_le_bytes(x) as f32)?,
            Dtype::U8 => self.integers(name, info, digest, |x| u8::from_le_bytes(x).into())?,
            Dtype::I8 => self.integers(name, info, digest, |x| i8::from_le_bytes(x).into())?,
            Dtype::U16 => self.integers(name, info, digest, |x| u16::from_le_bytes(x).into())?,
            Dtype::I16 => self.integers(name, info, digest, |x| i16::from_le_bytes(x).into())?,
            Dtype::U32 => self.integers(name, info, digest, |x| u32::from_le_bytes(x).into())?,
            Dtype::I32 => self.integers(name, info, digest, |x| i32::from_le_bytes(x).into())?,
            Dtype::I64 => self.integers(name, info, digest, i64::from_le_bytes)?,
            other => unreachable!("a file with {other} was refused when it was opened"),
        })
    }

    fn floats<const WIDTH: usize>(
        &mut self,
        name: &str,
        info: &TensorInfo,
        digest: Option<&str>,
        convert: impl Fn([u8; WIDTH]) -> f32,
    ) -> Result<TensorValue> {
        let values = self.elements(name, info, digest, convert)?;
        if !values.iter().all(|x| x.is_finite()) {
            return Err(Error::NonFinite { path: self.path.to_path_buf(), name: name.into() });
        }
        Ok(TensorValue::F32(Tensor::new(values, &info.shape[..])?))
    }

    fn integers<const WIDTH: usize>(
        &mut self,
        name: &str,
        info: &TensorInfo,
        digest: Option<&str>,
        convert: impl Fn([u8; WIDTH]) -> i64,
    ) -> Result<TensorValue> {
        let values = self.elements(name, info, digest, convert)?;
        Ok(TensorValue::I64 { shape: Shape::from(&info.shape[..]), values })
    }

    /// The elements, of `WIDTH` bytes each.
    fn elements<const WIDTH: usize, T>(
        &mut self,
        name: &str,
        info: &TensorInfo,
        digest: Option<&str>,
        convert: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Vec<T>> {
        let io = |source| Error::Io { action: "read", path: self.path.to_path_buf(), source };
        let (from, to) = info.data_offsets;
        let mut values = Vec::new();
        // A pipe may end before what its header tells of, so its tensors grow as they come.
        let known = if self.measured { (to - from) / WIDTH } else { 0 };
        values.try_reserve_exact(known).map_err(|error| io(error.into()))?;
        let mut computed = TensorDigest::new(name, info.dtype, &info.shape);
        let mut left = to - from;
        while left > 0 {
            let chunk = &mut self.buffer[..left.min(CHUNK)];
            self.file.read_exact(chunk).map_err(io)?;
            values.try_reserve(chunk.len() / WIDTH).map_err(|error| io(error.into()))?;
            values.extend(chunk.as_chunks().0.iter().map(|&bytes| convert(bytes)));
            if digest.is_some() {
                computed.add(chunk);
            }
            left -= chunk.len();
        }
        match digest {
            Some(digest) if digest != computed.finish() => Err(Error::Damaged {
                path: self.path.to_path_buf(),
                what: format!("tensor `{name}`"),
            }),
            _ => Ok(values),
        }
    }
}
