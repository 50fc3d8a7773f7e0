//! `--device`.

use std::fmt;
use std::str::FromStr;

use gaternet_kernels::{Device, DeviceError};

use crate::cli::note::note;

/// A [`Device`] before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// NVIDIA GPU of this number.
    Cuda(usize),
    /// The first GPU, or the processor where there is none.
    Best,
}

impl DeviceName {
    /// Opens it; says on stderr which the best is.
    ///
    /// # Errors
    /// If there is no such device.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            DeviceName::Cpu => Ok(Device::Cpu),
            DeviceName::Cuda(ordinal) => Device::cuda(ordinal),
            DeviceName::Best => {
                let device = Device::best();
                note(format_args!("best device: {device}"));
                Ok(device)
            }
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            DeviceName::Best => f.write_str("best"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceName, String> {
        match text {
            "cpu" => Ok(DeviceName::Cpu),
            "cuda" => Ok(DeviceName::Cuda(0)),
            "best" => Ok(DeviceName::Best),
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                let names = "must be cpu, cuda, cuda:NUMBER or best".to_owned();
                number.map(DeviceName::Cuda).ok_or(names)
            }
        }
    }
}
