//! Helpers of the tests of all crates: tests that a machine may not be able to run, and the
//! emulator that stands for a GPU.
//!
//! This is no stable interface. The features `testing` and `testing-driver` are for
//! dev-dependencies.

#[cfg(feature = "testing-driver")]
pub mod driver;
pub mod emulator;
mod python;
mod skip;

pub use python::python;
pub use skip::skipped;
