#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use gaternet_core as core;
pub use gaternet_kernels as kernels;
pub use gaternet_models as models;

#[cfg(feature = "cli")]
pub mod cli;
