//! Where a network runs.

use std::fmt;

#[cfg(feature = "cuda")]
use crate::cuda::{CudaDevice, CudaError};

/// The processor, or a GPU.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The program was built without the code for it.
    #[error("this program was built without CUDA: build it with `--features cuda`")]
    NotBuilt,
    /// The GPU cannot be used.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

impl Device {
    /// NVIDIA GPU `ordinal`, from 0.
    ///
    /// # Errors
    /// [`DeviceError`], which says what is missing and how to get it.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn cuda(ordinal: usize) -> Result<Device, DeviceError> {
        #[cfg(feature = "cuda")]
        return Ok(Device::Cuda(CudaDevice::new(ordinal)?));
        #[cfg(not(feature = "cuda"))]
        Err(DeviceError::NotBuilt)
    }

    /// The first GPU if it can be used, else the processor; the log says why.
    #[must_use]
    pub fn best() -> Device {
        match Device::cuda(0) {
            Ok(device) => device,
            Err(_error) => {
                #[cfg(feature = "tracing")]
                tracing::info!("using the CPU: {_error}");
                Device::Cpu
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("CPU"),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => write!(f, "GPU {} ({})", device.ordinal(), device.name()),
        }
    }
}
