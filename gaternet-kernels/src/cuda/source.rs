//! CUDA sources, embedded in the library as text, and the names of files that are compiled from
//! them.

use sha2::{Digest, Sha256};

/// A file of `kernels-cu/`, embedded, with the headers it includes.
#[derive(Debug)]
pub struct Source {
    pub(super) file: &'static str,
    pub(super) text: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// The only architecture that the source is for; `None` if it is for all.
    pub(super) only: Option<&'static str>,
}

/// A [`Source`] of `kernels-cu/` and its headers: `source!("conv2d.cu", ["conv2d.cuh",
/// "dev.cuh"])`.
macro_rules! source {
    ($file:literal, [$($header:literal),*]) => {
        $crate::cuda::source::source!($file, [$($header),*], None)
    };
    ($file:literal, [$($header:literal),*], $only:expr) => {
        $crate::cuda::source::Source {
            file: $file,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-cu/", $file)),
            headers: &[$(($header, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-cu/", $header)))),*],
            only: $only,
        }
    };
}
pub(super) use source;

/// Options of NVRTC besides the architecture. Not `--use_fast_math`: it flushes denormal numbers to
/// 0, so that a gate that is not 0 would count as closed.
pub(super) const OPTIONS: [&str; 1] = ["--std=c++17"];

impl Source {
    /// Returns the name of the file in `kernels-cu/`.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// Returns whether the source can be compiled for an architecture such as `sm_90a`. A source
    /// that uses instructions of one architecture can be compiled for no other.
    #[must_use]
    pub fn is_for(&self, architecture: &str) -> bool {
        self.only.is_none_or(|only| only == architecture)
    }

    /// Returns the name of the file with the machine code or PTX of the source, as this version of
    /// `nvrtc` compiled it, if one is given. It changes with all that decides the contents, so an
    /// outdated file is never used.
    pub(super) fn image_name(&self, architecture: &str, nvrtc: Option<(i32, i32)>) -> String {
        let stem = self.file.trim_end_matches(".cu");
        let compiler =
            nvrtc.map_or(String::new(), |(major, minor)| format!("nvrtc{major}.{minor}."));
        let kind = if is_ptx(architecture) { "ptx" } else { "cubin" };
        format!("{stem}-{:016x}.{compiler}{architecture}.{kind}", self.hash())
    }

    /// Returns a hash of the source, its headers and the options.
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

/// Returns whether the compiler makes PTX for an architecture: the driver's assembly language,
/// which the driver compiles when it loads it.
pub(super) fn is_ptx(architecture: &str) -> bool {
    architecture.starts_with("compute_")
}
