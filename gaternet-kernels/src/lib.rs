//! Kernels of gaternet, on plain slices: they know dims, never tensors.
//!
//! Every public function checks the lengths of its slices against the dims and returns a
//! [`KernelError`] before it writes anything.

mod active_filters;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
pub mod dims;
mod dtype;
mod error;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
#[cfg(test)]
mod testing;

pub use active_filters::ActiveFilters;
pub use cpu::isa::Isa;
pub use device::{Device, DeviceError};
pub use dims::{Conv2dDims, LinearDims, PadDims, PlaneDims, PoolDims};
pub use dtype::DType;
pub use error::{KernelError, Result};

#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod test_support;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
