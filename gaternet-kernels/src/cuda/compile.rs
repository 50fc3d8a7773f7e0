//! From a CUDA source to a module on the device: compiled elsewhere, compiled in an earlier run, or
//! compiled now.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, CudaModule};
use cudarc::nvrtc::Ptx;

use super::error::{CudaError, Doing, Result};
use super::nvrtc::Nvrtc;
use super::options::CudaOptions;
use super::source::Source;
use super::store;

#[cfg(test)]
mod tests;

/// The compiled kernels of a [`Source`], which the driver loads.
#[derive(Debug, Clone)]
pub struct Image {
    /// A cubin (an ELF file of machine code), or PTX as text that ends in 0.
    pub bytes: Vec<u8>,
    /// The place the bytes came from.
    pub origin: Origin,
}

/// The place an [`Image`] came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file in a folder of [`build_cubins`](super::build_cubins).
    Prebuilt(PathBuf),
    /// A file that an earlier run wrote.
    Cache(PathBuf),
    /// The image was compiled in this call.
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
    /// Makes a compiler for devices of compute capability `capability`, (major, minor), with the
    /// folders and the file of `options`. It opens nothing yet.
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

    /// Returns the architecture to compile for, such as `sm_86`. The "a" of `sm_90a` adds the
    /// instructions that only this generation has.
    #[must_use]
    pub fn architecture(&self) -> String {
        match self.capability {
            (9, 0) => "sm_90a".to_owned(),
            (major, minor) => format!("sm_{major}{minor}"),
        }
    }

    /// Returns a prebuilt image if there is one, else one that an earlier run compiled, else
    /// compiles it now. Files that are damaged or cannot be written cost a warning and time,
    /// nothing else.
    ///
    /// # Errors
    /// [`CudaError::NoCompiler`] if there is no prebuilt image and no NVRTC, [`CudaError::Compile`]
    /// if NVRTC refuses the source.
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

    /// Returns the best image of the folder of cubins that the device runs. Code for an earlier
    /// minor version runs on a later one of the same major version; PTX runs on all later ones.
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

/// Returns the contents of `path`, if the file is there and whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    store::read(path)
        .inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(?path, %error, "a file of compiled kernels cannot be used");
            }
        })
        .ok()
}

pub(super) fn no_compiler(
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
