//! Facade of the `gaternet` workspace: one dependency, every crate.
#![forbid(unsafe_code)]

pub use gaternet_core as core;
pub use gaternet_kernels as kernels;
pub use gaternet_models as models;
