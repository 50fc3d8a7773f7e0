//! What the tests of all crates share: tests that a machine may not be able to run, and the
//! emulator that stands for a GPU.
//!
//! A dev-dependency without a version, which Cargo leaves out of published packages.

#[cfg(feature = "driver")]
pub mod driver;
pub mod emulator;
mod python;
mod skip;

pub use python::python;
pub use skip::skipped;
