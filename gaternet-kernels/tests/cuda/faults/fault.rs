//! What a fault is.

use gaternet_kernels::test_support::emulator::Patch;

/// A change of a source, which a run of the tests must catch.
pub(crate) struct Fault {
    pub(crate) patch: Patch,
    /// The report of the run must contain this text.
    pub(crate) report: &'static str,
}
