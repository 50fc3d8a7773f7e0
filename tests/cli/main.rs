//! The examples as a user meets them: help, a run, bad input, agreement with the authors' values.

mod checks;
mod classes;
mod describe;
mod device;
#[cfg(feature = "cuda")]
#[path = "../../gaternet-kernels/tests/cuda/emulator.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of gaternet-kernels, which open the device themselves"
)]
mod emulator;
mod errors;
mod evaluate;
mod export;
mod image_files;
mod image_folder;
mod interchange;
mod model_throughput;
mod output;
mod procedures;
mod programs;
mod recipes;
mod reference;
mod runs;
mod throughput;
mod train;

/// No faults are planted here.
#[cfg(feature = "cuda")]
fn patches() -> &'static [emulator::Patch] {
    &[]
}
