//! Why there is no machine code.

use std::path::PathBuf;

use super::architecture::Architecture;

/// Why a CUDA kernel cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The device lacks instructions that every kernel uses.
    #[error(
        "the GPU has compute capability {}.{}; the kernels need 8.0 (Ampere) or later",
        compute_capability.0, compute_capability.1
    )]
    TooOld {
        /// Major and minor version.
        compute_capability: (i32, i32),
    },
    /// The name of no architecture.
    #[error("{name:?} is not an architecture: expected sm_80 or later, such as sm_90a")]
    UnknownArchitecture {
        /// The name.
        name: String,
    },
    /// The kernel uses instructions of another architecture.
    #[error("kernel {kernel} is for {needs} only, the device is {device}")]
    Unsupported {
        /// The source.
        kernel: &'static str,
        /// What it is for.
        needs: Architecture,
        /// What was asked for.
        device: Architecture,
    },
    /// Neither a prebuilt cubin nor the compiler is there.
    #[error(
        "kernel {kernel} for {architecture}: no prebuilt cubin in {}, and NVRTC, NVIDIA's run-time compiler, cannot \
         be used: {reason}. It comes with the CUDA toolkit, not with the driver. Install it by `pip install \
         nvidia-cuda-nvrtc` (drivers before 580: nvidia-cuda-nvrtc-cu12) and set GATERNET_NVRTC to its libnvrtc.so.13 \
         (.12), or set GATERNET_CUBINS to a folder made by scripts/build-cubins.sh",
        cubins.as_ref().map_or("a known folder".into(), |folder| folder.display().to_string())
    )]
    NoCompiler {
        /// The source.
        kernel: &'static str,
        /// What it was to be compiled for.
        architecture: Architecture,
        /// Where a prebuilt cubin was looked for.
        cubins: Option<PathBuf>,
        /// What was tried to open NVRTC.
        reason: String,
    },
    /// NVRTC refused the source.
    #[error("kernel {kernel} for {architecture}: NVRTC {}.{}: {error}{hint}\n{log}", version.0, version.1)]
    Compile {
        /// The source.
        kernel: &'static str,
        /// What it was to be compiled for.
        architecture: Architecture,
        /// Of NVRTC, major and minor.
        version: (i32, i32),
        /// NVRTC's name of the error.
        error: String,
        /// What helps against it, or nothing.
        hint: &'static str,
        /// What the compiler printed.
        log: String,
    },
    /// A prebuilt cubin could not be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
}

/// Result of looking for machine code.
pub type Result<T, E = CompileError> = std::result::Result<T, E>;
