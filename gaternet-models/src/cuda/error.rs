//! Errors of networks on a GPU.

use gaternet_kernels::KernelError;
use gaternet_kernels::cuda::CudaError;

/// The reason why a network cannot run on a GPU, or did not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the GPU.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// An error of the network.
    #[error(transparent)]
    Model(#[from] gaternet_core::Error),
    /// Something for which there is no kernel.
    #[error("there is no CUDA kernel for {what}: use the CPU")]
    Unsupported {
        /// The layer, estimator, loss or data.
        what: String,
    },
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Error {
        Error::Model(error.into())
    }
}

/// The result of a call that needs a GPU.
pub type Result<T, E = Error> = std::result::Result<T, E>;

pub(super) fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Unsupported { what: what.into() })
}
