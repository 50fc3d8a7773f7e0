//! Errors of GPUs.

use std::path::PathBuf;

use cudarc::driver::DriverError;

use crate::error::KernelError;

/// The reason why a GPU cannot be used, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no driver.
    #[error(
        "no NVIDIA driver: libcuda.so.1 was not found. Install the driver of the GPU (the CUDA toolkit is not \
         needed); in a container, start it with the GPUs (docker run --gpus all)"
    )]
    NoDriver,
    /// The driver is older than what this program calls.
    #[error(
        "the NVIDIA driver supports CUDA {major}.{minor}; 12.0 is needed: install driver 525 or later"
    )]
    DriverTooOld {
        /// Major number of the newest CUDA version that the driver supports.
        major: i32,
        /// Minor number of that version.
        minor: i32,
    },
    /// The driver does not have the device that was asked for.
    #[error(
        "no CUDA device {ordinal}: the driver has {count} (numbered from 0; CUDA_VISIBLE_DEVICES can hide some)"
    )]
    NoDevice {
        /// The device asked for.
        ordinal: usize,
        /// Number of devices that there are.
        count: usize,
    },
    /// The device has no bf16 matrix instructions.
    #[error(
        "{name} has compute capability {major}.{minor}; 8.0 or later is needed (Ampere, Ada, Hopper, ...)"
    )]
    DeviceTooOld {
        /// The device's name.
        name: String,
        /// Major number of its compute capability.
        major: i32,
        /// Minor number of its compute capability.
        minor: i32,
    },
    /// Kernels can neither be compiled nor found compiled.
    #[error(
        "{file} is not compiled for {architecture}{}, and there is no compiler: {compiler}. Install NVRTC \
         (`pip install nvidia-cuda-nvrtc` or the CUDA toolkit) and name its file in GATERNET_NVRTC, or name a folder \
         of scripts/build-cubins.sh in GATERNET_CUBINS",
        folder.as_ref().map(|folder| format!(" in {}", folder.display())).unwrap_or_default()
    )]
    NoCompiler {
        /// The file of the source.
        file: &'static str,
        /// The architecture of the device, such as `sm_90`.
        architecture: String,
        /// The folder in which compiled kernels were looked for.
        folder: Option<PathBuf>,
        /// Why NVRTC cannot be used.
        compiler: String,
    },
    /// NVRTC refused a source.
    #[error("{file} does not compile for {architecture}:\n{log}")]
    Compile {
        /// The file of the source.
        file: &'static str,
        /// The architecture.
        architecture: String,
        /// The text that the compiler printed.
        log: String,
    },
    /// A file of compiled kernels cannot be written.
    #[error("{path:?}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// Something that cannot be recorded in a graph.
    #[error("{what} cannot be part of a graph: do it before the capture")]
    Capturing {
        /// The action that was attempted.
        what: &'static str,
    },
    /// Something that another thread's capture would record.
    #[error("{what}: another thread records a graph on this device, wait until it has")]
    CapturedElsewhere {
        /// The action that was attempted.
        what: &'static str,
    },
    /// An error of the driver. After a failed kernel every later call fails with the same.
    #[error("{what}: {error}")]
    Driver {
        /// The action that was attempted.
        what: &'static str,
        /// The driver's error.
        error: DriverError,
    },
    /// Arguments that do not fit together; nothing was launched.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Result of a call that needs a GPU.
pub type Result<T, E = CudaError> = std::result::Result<T, E>;

/// Says what failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, DriverError> {
    fn doing(self, what: &'static str) -> Result<T> {
        self.map_err(|error| CudaError::Driver { what, error })
    }
}
