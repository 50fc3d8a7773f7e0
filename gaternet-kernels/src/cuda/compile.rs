//! From a CUDA source to a module on the device: compiled elsewhere, compiled in an earlier run, or compiled now.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::Ptx;
use sha2::{Digest, Sha256};

use super::device::CudaOptions;
use super::error::{CudaError, Doing, Result};
use super::nvrtc::Nvrtc;
use super::store;

#[cfg(test)]
mod tests;

/// A file of `kernels-cu/`, embedded, with the headers it includes.
#[derive(Debug)]
pub struct Source {
    pub(super) file: &'static str,
    pub(super) text: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// The only architecture that it is for, if it is not for all.
    pub(super) only: Option<&'static str>,
}

/// A [`Source`] of `kernels-cu/` and its headers: `source!("conv2d.cu", ["conv2d.cuh", "dev.cuh"])`.
macro_rules! source {
    ($file:literal, [$($header:literal),*]) => {
        $crate::cuda::compile::source!($file, [$($header),*], None)
    };
    ($file:literal, [$($header:literal),*], $only:expr) => {
        $crate::cuda::compile::Source {
            file: $file,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-cu/", $file)),
            headers: &[$(($header, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-cu/", $header)))),*],
            only: $only,
        }
    };
}
pub(super) use source;

/// Every source.
pub fn sources() -> impl Iterator<Item = &'static Source> {
    [
        &super::augment::SOURCE,
        &super::batch_norm::SOURCE,
        &super::batch_shaping::SOURCE,
        &super::clock::SOURCE,
        &super::concat::SOURCE,
        &super::convert::SOURCE,
        &super::cross_entropy::SOURCE,
        &super::dropout::SOURCE,
        &super::ema::SOURCE,
        &super::gate::SOURCE,
        &super::gate_apply::SOURCE,
        &super::gate_group::SOURCE,
        &super::gate_largest::SOURCE,
        &super::gate_loss::SOURCE,
        &super::gate_target::SOURCE,
        &super::gumbel_sigmoid::SOURCE,
        &super::linear::SOURCE,
        &super::mix::SOURCE,
        &super::pad::SOURCE,
        &super::pool::SOURCE,
        &super::pool2d::SOURCE,
        &super::sem_hash::SOURCE,
        &super::sgd::SOURCE,
        &super::sigmoid::SOURCE,
        &super::straight_through::SOURCE,
    ]
    .into_iter()
    .chain(super::conv2d::SOURCES)
}

/// Options of NVRTC besides the architecture. Not `--use_fast_math`: it flushes denormal numbers to 0, so that a
/// gate that is not 0 would count as off.
pub(super) const OPTIONS: [&str; 1] = ["--std=c++17"];

impl Source {
    /// The name of the file in `kernels-cu/`.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// Whether it can be compiled for an architecture such as `sm_90a`: a source that uses instructions of one
    /// architecture only is for no other.
    #[must_use]
    pub fn is_for(&self, architecture: &str) -> bool {
        self.only.is_none_or(|only| only == architecture)
    }

    /// Name of the file with its machine code, or PTX; with the version of `nvrtc`, as this compiled it. It changes
    /// with all that decides the contents, so an outdated file is never used.
    fn image_name(&self, architecture: &str, nvrtc: Option<(i32, i32)>) -> String {
        let stem = self.file.trim_end_matches(".cu");
        let compiler =
            nvrtc.map_or(String::new(), |(major, minor)| format!("nvrtc{major}.{minor}."));
        let kind = if is_ptx(architecture) { "ptx" } else { "cubin" };
        format!("{stem}-{:016x}.{compiler}{architecture}.{kind}", self.hash())
    }

    /// Of the source, its headers and the options.
    fn hash(&self) -> u64 {
        let mut hash = Sha256::new();
        let headers = self.headers.iter().flat_map(|(name, text)| [*name, *text]);
        for part in [self.file, self.text].into_iter().chain(headers).chain(OPTIONS) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// PTX is the driver's assembly language, which it compiles when it is loaded.
pub(super) fn is_ptx(architecture: &str) -> bool {
    architecture.starts_with("compute_")
}

/// What the driver loads for a [`Source`].
#[derive(Debug, Clone)]
pub struct Image {
    /// A cubin (an ELF file of machine code), or PTX as text that ends in 0.
    pub bytes: Vec<u8>,
    /// Where it is from.
    pub origin: Origin,
}

/// Where an [`Image`] is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This file of the folder of [`build_cubins`].
    Prebuilt(PathBuf),
    /// This file, which an earlier run wrote.
    Cache(PathBuf),
    /// Compiled in this call.
    Compiled,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Prebuilt(path) | Origin::Cache(path) => path.display().fmt(f),
            Origin::Compiled => f.write_str("NVRTC"),
        }
    }
}

/// Compiles every source for every architecture that it is for into `folder`, to be used where NVRTC is not
/// ([`CudaOptions::cubins`]), with the `nvrtc` of [`CudaOptions::nvrtc`]. Needs no GPU. An architecture such as
/// `compute_80` gives PTX, which a driver compiles for any later device.
///
/// # Errors
/// [`CudaError::NoCompiler`], [`CudaError::Compile`] or [`CudaError::Io`].
pub fn build_cubins(
    folder: &Path,
    architectures: &[&str],
    nvrtc: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let nvrtc = Nvrtc::open(nvrtc);
    let mut written = Vec::new();
    for source in sources() {
        for architecture in architectures.iter().filter(|name| source.is_for(name)) {
            let nvrtc =
                nvrtc.as_ref().map_err(|reason| no_compiler(source, architecture, None, reason))?;
            let path = folder.join(source.image_name(architecture, None));
            store::write(&path, &nvrtc.compile(source, architecture)?)
                .map_err(|error| CudaError::Io { path: path.clone(), error })?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Finds or makes the images for devices of one compute capability.
#[derive(Debug)]
pub struct Compiler {
    capability: (i32, i32),
    cache: Option<PathBuf>,
    cubins: Option<PathBuf>,
    nvrtc_file: Option<PathBuf>,
    nvrtc: OnceLock<Result<Nvrtc, String>>,
}

impl Compiler {
    /// For compute capability `capability`, with the folders and the file of `options`. Nothing is opened yet.
    #[must_use]
    pub fn new(capability: (i32, i32), options: &CudaOptions) -> Compiler {
        Compiler {
            capability,
            cache: options.cache.clone(),
            cubins: options.cubins.clone(),
            nvrtc_file: options.nvrtc.clone(),
            nvrtc: OnceLock::new(),
        }
    }

    /// What to compile for, such as `sm_86`. The "a" of `sm_90a` adds the instructions that only this generation has.
    #[must_use]
    pub fn architecture(&self) -> String {
        match self.capability {
            (9, 0) => "sm_90a".to_owned(),
            (major, minor) => format!("sm_{major}{minor}"),
        }
    }

    /// The first of: a prebuilt image, one that an earlier run compiled, one that is compiled now. Files that are
    /// damaged or cannot be written cost a warning and time, nothing else.
    ///
    /// # Errors
    /// [`CudaError::NoCompiler`] if there is no prebuilt image and no NVRTC, [`CudaError::Compile`] if NVRTC refuses
    /// the source.
    pub fn image(&self, source: &Source) -> Result<Image> {
        self.prebuilt(source).map_or_else(|| self.cached_or_compiled(source), Ok)
    }

    pub(super) fn load(
        &self,
        context: &Arc<CudaContext>,
        source: &Source,
    ) -> Result<Arc<CudaModule>> {
        let load = |image: Image| {
            tracing::debug!(kernels = source.file, from = %image.origin, "load");
            context.load_module(Ptx::from_binary(image.bytes)).doing("loading kernels")
        };
        let Some(prebuilt) = self.prebuilt(source) else {
            return load(self.cached_or_compiled(source)?);
        };
        // A driver refuses what a later CUDA made; an NVRTC of this machine may be of its age.
        let origin = prebuilt.origin.clone();
        load(prebuilt).or_else(|refusal| {
            tracing::warn!(file = %origin, %refusal, "a prebuilt file cannot be used");
            match self.cached_or_compiled(source) {
                Err(CudaError::NoCompiler { .. }) => Err(refusal),
                image => load(image?),
            }
        })
    }

    /// The best image of the folder of cubins that the device runs. Code for an earlier minor version runs on a
    /// later one of the same major version; PTX runs on all later ones.
    fn prebuilt(&self, source: &Source) -> Option<Image> {
        let folder = self.cubins.as_ref()?;
        let (major, minor) = self.capability;
        let earlier = (0..=minor).rev().map(|minor| format!("sm_{major}{minor}"));
        let all = [self.architecture()].into_iter().chain(earlier).chain(["compute_80".to_owned()]);
        all.filter(|architecture| source.is_for(architecture)).find_map(|architecture| {
            let path = folder.join(source.image_name(&architecture, None));
            Some(Image { bytes: read(&path)?, origin: Origin::Prebuilt(path) })
        })
    }

    fn cached_or_compiled(&self, source: &Source) -> Result<Image> {
        let architecture = self.architecture();
        let nvrtc =
            self.nvrtc.get_or_init(|| Nvrtc::open(self.nvrtc_file.as_deref())).as_ref().map_err(
                |reason| no_compiler(source, &architecture, self.cubins.clone(), reason),
            )?;
        let name = source.image_name(&architecture, Some(nvrtc.version()));
        let path = self.cache.as_ref().map(|folder| folder.join(name));
        if let Some(path) = &path
            && let Some(bytes) = read(path)
        {
            return Ok(Image { bytes, origin: Origin::Cache(path.clone()) });
        }
        let bytes = nvrtc.compile(source, &architecture)?;
        if let Some(path) = &path
            && let Err(error) = store::write(path, &bytes)
        {
            tracing::warn!(?path, %error, "compiled kernels cannot be kept");
        }
        Ok(Image { bytes, origin: Origin::Compiled })
    }
}

/// The contents of `path`, if it is there and whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    store::read(path)
        .inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(?path, %error, "a file of compiled kernels cannot be used");
            }
        })
        .ok()
}

fn no_compiler(
    source: &Source,
    architecture: &str,
    folder: Option<PathBuf>,
    compiler: &str,
) -> CudaError {
    CudaError::NoCompiler {
        file: source.file,
        architecture: architecture.to_owned(),
        folder,
        compiler: compiler.to_owned(),
    }
}
