//! Training and evaluation on a GPU against the CPU.
//!
//! Without a GPU they run on the emulator of gaternet-kernels, with `GATERNET_CUDA=real` on device
//! 0 of the machine's own driver.

#[path = "../../../gaternet-kernels/tests/cuda/emulator.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests of gaternet-kernels, which plant faults"
)]
mod emulator;
mod families;
mod gates;
mod gradients;
mod options;
mod plan;
mod refusals;
mod setup;
mod train;

/// No faults are planted here.
fn patches() -> &'static [emulator::Patch] {
    &[]
}
