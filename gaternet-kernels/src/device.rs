//! The device that a network runs on.

use std::fmt;

#[cfg(feature = "cuda")]
use crate::cuda::{CudaDevice, CudaError};

/// The device that a network runs on: the processor, or a GPU.
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

/// The reason why a device cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The program was built without the code for GPUs.
    #[error("this program was built without CUDA: build it with `--features cuda`")]
    NotBuilt,
    /// The GPU cannot be used.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

impl Device {
    /// Opens NVIDIA GPU `ordinal`, from 0.
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

    /// Returns the first GPU if it can be used, else the processor; the log says why.
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
