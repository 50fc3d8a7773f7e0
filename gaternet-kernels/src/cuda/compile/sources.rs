//! The embedded sources, and the names of the files that their machine code is kept in.

use sha2::{Digest, Sha256};

use super::architecture::Architecture;
use super::error::{CompileError, Result};

/// A CUDA source, such as a file of `kernels-cu/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    name: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../kernels-cu/", $name))
    };
}

/// What the sources include, by the name they use.
pub(super) const HEADERS: [(&str, &str); 2] =
    [("conv2d.cuh", file!("conv2d.cuh")), ("dev.cuh", file!("dev.cuh"))];

/// Options of the compiler besides the architecture. Not `--use_fast_math`: it flushes denormals, so that a gate
/// that is not 0 could count as off.
pub(super) const OPTIONS: [&str; 1] = ["--std=c++17"];

impl Source {
    /// Convolution with gathered rows.
    pub const CONV2D: Source = Source::new("conv2d", file!("conv2d.cu"));
    /// Lists of live filters.
    pub const GATE: Source = Source::new("gate", file!("gate.cu"));

    /// All of `kernels-cu/`.
    pub const ALL: [Source; 2] = [Source::CONV2D, Source::GATE];

    /// The CUDA C++ `text` of a file `name`.cu. It may include the headers of `kernels-cu/` and nothing else.
    #[must_use]
    pub const fn new(name: &'static str, text: &'static str) -> Source {
        Source { name, text }
    }

    /// The file's name without `.cu`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The CUDA C++ text.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// Whether it is written for compute capability 9.0 alone: its name ends in 90.
    #[must_use]
    pub fn is_hopper(&self) -> bool {
        self.name.ends_with("90")
    }

    /// What it is compiled for if a device of architecture `device` is to run it.
    ///
    /// # Errors
    /// [`CompileError::Unsupported`] if no such device can.
    pub fn target(&self, device: Architecture) -> Result<Architecture> {
        let needs = Architecture::SM_90A;
        if !self.is_hopper() {
            Ok(device)
        } else if device == Architecture::SM_90 || device == needs {
            Ok(needs)
        } else {
            Err(CompileError::Unsupported { kernel: self.name, needs, device })
        }
    }

    /// Name of the file that holds its machine code for `architecture`; with `nvrtc`, as compiled by this version.
    pub(super) fn file_name(
        &self,
        architecture: Architecture,
        nvrtc: Option<(i32, i32)>,
    ) -> String {
        let compiler =
            nvrtc.map_or(String::new(), |(major, minor)| format!("-nvrtc{major}.{minor}"));
        format!("{}-{:016x}-{architecture}{compiler}.cubin", self.name, self.fingerprint())
    }

    /// A hash of all that decides the machine code but architecture and compiler.
    fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        let headers = HEADERS.iter().flat_map(|(name, text)| [*name, *text]);
        for part in [self.name, self.text].into_iter().chain(headers).chain(OPTIONS) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let bytes: [u8; 32] = hash.finalize().into();
        bytes[..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}
