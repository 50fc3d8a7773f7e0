//! From an embedded CUDA source to machine code (a cubin) for the GPU at hand.
//!
//! [`image`] takes the first of three: a prebuilt cubin (`scripts/build-cubins.sh` makes them), what an earlier run
//! compiled, or NVRTC, NVIDIA's compiler as a library, which is opened only then. The environment says where:
//!
//! | variable | meaning |
//! |---|---|
//! | `GATERNET_CUBINS` | folder of prebuilt cubins; if not set, `cubins` beside the executable |
//! | `XDG_CACHE_HOME` | compiled cubins are kept in its folder `gaternet`; if not set, in `~/.cache/gaternet` |
//! | `GATERNET_NVRTC` | the file of NVRTC; if not set, `libnvrtc.so.13` or `.12` where the loader or a CUDA toolkit has it |
//!
//! Names of files hold a hash of source, headers and options, so an outdated cubin is never used.

mod architecture;
mod error;
mod nvrtc;
mod places;
mod sources;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

pub use architecture::Architecture;
pub use error::{CompileError, Result};
use nvrtc::Nvrtc;
pub use places::Places;
pub use sources::Source;

/// The machine code of a [`Source`], for the driver to load.
#[derive(Debug, Clone)]
pub struct Image {
    /// A cubin: an ELF file for a GPU.
    pub cubin: Vec<u8>,
    /// What it was compiled for.
    pub architecture: Architecture,
    /// Where it is from.
    pub origin: Origin,
}

/// Where an [`Image`] is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This prebuilt file.
    Prebuilt(PathBuf),
    /// This file, which an earlier call wrote.
    Cache(PathBuf),
    /// Compiled in this call.
    Compiled,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Prebuilt(path) => write!(f, "prebuilt {}", path.display()),
            Origin::Cache(path) => write!(f, "cached {}", path.display()),
            Origin::Compiled => f.write_str("compiled by NVRTC"),
        }
    }
}

/// The machine code of `source` for a device of architecture `device`, from where the environment says.
///
/// # Errors
/// See [`Compiler::image`].
pub fn image(source: &Source, device: Architecture) -> Result<Image> {
    static COMPILER: LazyLock<Compiler> =
        LazyLock::new(|| Compiler::new(Places::from_environment()));
    COMPILER.image(source, device)
}

/// Finds or makes machine code.
#[derive(Debug)]
pub struct Compiler {
    places: Places,
    nvrtc: OnceLock<Result<Nvrtc, String>>,
}

impl Compiler {
    /// One that looks in `places`. Nothing is opened yet.
    #[must_use]
    pub fn new(places: Places) -> Compiler {
        Compiler { places, nvrtc: OnceLock::new() }
    }

    /// The machine code of `source` for a device of architecture `device`. A prebuilt cubin or a cache that cannot
    /// be read or written is passed over with a warning.
    ///
    /// # Errors
    /// [`CompileError::Unsupported`] if `source` is for other devices; [`CompileError::NoCompiler`] if there is no
    /// prebuilt cubin and no NVRTC; [`CompileError::Compile`] with NVRTC's words.
    pub fn image(&self, source: &Source, device: Architecture) -> Result<Image> {
        let target = source.target(device)?;
        if let Some(image) = self.prebuilt(source, target) {
            return Ok(image);
        }
        let nvrtc = self.nvrtc(source, target)?;
        let cached = self
            .places
            .cache
            .as_ref()
            .map(|folder| folder.join(source.file_name(target, Some(nvrtc.version()))));
        if let Some(path) = &cached
            && let Some(cubin) = read(path)
        {
            return Ok(Image { cubin, architecture: target, origin: Origin::Cache(path.clone()) });
        }
        let cubin = nvrtc.compile(source, target)?;
        if let Some(path) = &cached
            && let Err(error) = store::write(path, &cubin)
        {
            tracing::warn!(path = %path.display(), %error, "a compiled kernel cannot be kept");
        }
        Ok(Image { cubin, architecture: target, origin: Origin::Compiled })
    }

    /// Compiles `source` into `folder`, from where [`GATERNET_CUBINS`](self) can have it. Returns the file.
    ///
    /// # Errors
    /// As [`image`](Compiler::image), and [`CompileError::Write`].
    pub fn prebuild(
        &self,
        source: &Source,
        device: Architecture,
        folder: &Path,
    ) -> Result<PathBuf> {
        let target = source.target(device)?;
        let cubin = self.nvrtc(source, target)?.compile(source, target)?;
        let path = folder.join(source.file_name(target, None));
        store::write(&path, &cubin).map_err(|error| CompileError::Write {
            path: path.clone(),
            error: error.to_string(),
        })?;
        Ok(path)
    }

    /// The first prebuilt cubin that a device of architecture `target` runs.
    fn prebuilt(&self, source: &Source, target: Architecture) -> Option<Image> {
        target.runs().find_map(|architecture| {
            let path = self.places.cubins.as_ref()?.join(source.file_name(architecture, None));
            let cubin = read(&path)?;
            Some(Image { cubin, architecture, origin: Origin::Prebuilt(path) })
        })
    }

    fn nvrtc(&self, source: &Source, target: Architecture) -> Result<&Nvrtc> {
        let nvrtc = self.nvrtc.get_or_init(|| Nvrtc::load(self.places.nvrtc.as_deref()));
        nvrtc.as_ref().map_err(|reason| CompileError::NoCompiler {
            kernel: source.name(),
            architecture: target,
            cubins: self.places.cubins.clone(),
            reason: reason.clone(),
        })
    }
}

/// The cubin in `path`, if it is there and whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    match store::read(path) {
        Ok(cubin) => Some(cubin),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "a kernel that cannot be used");
            }
            None
        }
    }
}
