//! From CUDA source to a module on the device: compiled elsewhere, compiled in an earlier run, or compiled now.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::Ptx;

use super::error::{CudaError, Doing, Result};
use super::nvrtc::Nvrtc;

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
pub(super) fn sources() -> impl Iterator<Item = &'static Source> {
    [
        &super::augment::SOURCE,
        &super::batch_norm::SOURCE,
        &super::clock::SOURCE,
        &super::convert::SOURCE,
        &super::cross_entropy::SOURCE,
        &super::gate::SOURCE,
        &super::gate_apply::SOURCE,
        &super::gate_loss::SOURCE,
        &super::linear::SOURCE,
        &super::pool::SOURCE,
        &super::sem_hash::SOURCE,
        &super::sgd::SOURCE,
    ]
    .into_iter()
    .chain(super::conv2d::SOURCES)
}

impl Source {
    /// The name of the file in `kernels-cu/`.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// Changes with every change of the source or its headers.
    fn hash(&self) -> u64 {
        let headers = self.headers.iter().flat_map(|(name, text)| [*name, *text]);
        fnv([self.file, self.text].into_iter().chain(headers))
    }

    /// The file name of a module of this very source.
    fn image_name(&self, hash: u64, architecture: &str) -> String {
        let stem = self.file.trim_end_matches(".cu");
        let kind = if architecture.starts_with("compute_") { "ptx" } else { "cubin" };
        format!("{stem}-{hash:016x}.{architecture}.{kind}")
    }

    fn compile(&self, nvrtc: &Nvrtc, architecture: &str) -> Result<Vec<u8>> {
        let options = [format!("--gpu-architecture={architecture}"), "--std=c++17".to_owned()];
        nvrtc.compile(self.file, self.text, self.headers, &options).map_err(|log| {
            CudaError::Compile { file: self.file, architecture: architecture.to_owned(), log }
        })
    }
}

/// Compiles every source for every architecture that it is for into `folder`, to be used where NVRTC is not
/// ([`CudaOptions::cubins`](super::CudaOptions)). Needs NVRTC and no GPU. An architecture such as `compute_80`
/// gives PTX, which a driver compiles for any later device.
///
/// # Errors
/// [`CudaError::NoCompiler`], [`CudaError::Compile`] or [`CudaError::Io`].
pub fn build_cubins(folder: &Path, architectures: &[&str]) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for source in sources() {
        for architecture in architectures {
            if source.only.is_some_and(|only| only != *architecture) {
                continue;
            }
            let nvrtc = Nvrtc::get()
                .map_err(|compiler| no_compiler(source, architecture, None, compiler))?;
            let path = folder.join(source.image_name(source.hash(), architecture));
            let image = source.compile(nvrtc, architecture)?;
            write_whole(&path, &image)
                .map_err(|error| CudaError::Io { path: path.clone(), error })?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Finds or makes the modules of one device.
pub(super) struct Compiler {
    capability: (i32, i32),
    cache: Option<PathBuf>,
    cubins: Option<PathBuf>,
}

impl Compiler {
    pub(super) fn new(
        capability: (i32, i32),
        cache: Option<PathBuf>,
        cubins: Option<PathBuf>,
    ) -> Compiler {
        Compiler { capability, cache, cubins }
    }

    /// What to compile for. The "a" adds the instructions that only this generation has.
    pub(super) fn architecture(&self) -> String {
        match self.capability {
            (9, 0) => "sm_90a".to_owned(),
            (major, minor) => format!("sm_{major}{minor}"),
        }
    }

    pub(super) fn load(
        &self,
        context: &Arc<CudaContext>,
        source: &Source,
    ) -> Result<Arc<CudaModule>> {
        let load = |image| context.load_module(Ptx::from_binary(image));
        if let Some(image) = self.prebuilt(source) {
            return load(image).doing("loading a module of the folder of cubins");
        }
        let architecture = self.architecture();
        let nvrtc = Nvrtc::get()
            .map_err(|why| no_compiler(source, &architecture, self.cubins.clone(), why))?;
        let (major, minor) = nvrtc.version();
        let hash = fnv([&*format!("{:016x}", source.hash()), &*format!("NVRTC {major}.{minor}")]);
        let name = source.image_name(hash, &architecture);
        let cached = self.cache.as_ref().map(|folder| folder.join(name));
        if let Some(module) = cached.as_ref().and_then(|path| load(fs::read(path).ok()?).ok()) {
            return Ok(module);
        }
        let start = std::time::Instant::now();
        let image = source.compile(nvrtc, &architecture)?;
        tracing::debug!("{} compiled for {architecture} in {:?}", source.file, start.elapsed());
        if let Some(path) = cached
            && let Err(error) = write_whole(&path, &image)
        {
            tracing::warn!("{}: {error}: the kernels will be compiled again", path.display());
        }
        load(image).doing("loading a module that was just compiled")
    }

    /// A module of the folder of cubins that this device can run. Code for an earlier minor version runs on a
    /// later one of the same major version; PTX runs on all.
    fn prebuilt(&self, source: &Source) -> Option<Vec<u8>> {
        let folder = self.cubins.as_ref()?;
        let (major, minor) = self.capability;
        let earlier = (0..=minor).rev().map(|minor| format!("sm_{major}{minor}"));
        let all = [self.architecture()].into_iter().chain(earlier).chain(["compute_80".to_owned()]);
        all.filter(|architecture| source.only.is_none_or(|only| only == architecture))
            .find_map(|a| fs::read(folder.join(source.image_name(source.hash(), &a))).ok())
    }
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

/// Writes a file that others see only when it is complete.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>) of texts, each ended by a byte that no text has.
fn fnv<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_by_its_text_and_its_headers() {
        let source = |text, header| Source {
            file: "a.cu",
            text,
            headers: if header { &[("a.cuh", "1")] } else { &[("a.cuh", "2")] },
            only: None,
        };
        let hash = source("x", true).hash();
        assert_eq!(hash, source("x", true).hash());
        assert_ne!(hash, source("y", true).hash());
        assert_ne!(hash, source("x", false).hash());
        assert_eq!(source("x", true).image_name(1, "sm_90a"), "a-0000000000000001.sm_90a.cubin");
    }

    #[test]
    fn every_header_of_a_source_is_embedded_and_none_is_missing() {
        for source in sources() {
            let mut included: Vec<&str> = Vec::new();
            let texts = source.headers.iter().map(|header| header.1).chain([source.text]);
            for line in texts.flat_map(str::lines) {
                if let Some(name) = line.strip_prefix("#include \"").and_then(|l| l.strip_suffix('"'))
                    && !name.ends_with(".h") // the emulator's
                    && !included.contains(&name)
                {
                    included.push(name);
                }
            }
            let mut embedded: Vec<&str> = source.headers.iter().map(|header| header.0).collect();
            included.sort_unstable();
            embedded.sort_unstable();
            assert_eq!(embedded, included, "{}", source.file);
        }
    }
}
