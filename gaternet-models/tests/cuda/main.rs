//! Training and evaluation on a GPU against the CPU.
//!
//! Without a GPU they run on the emulator of gaternet-kernels, with `GATERNET_CUDA=real` on device
//! 0 of the machine's own driver.

mod emulator;
mod families;
mod gates;
mod gradients;
mod options;
mod plan;
mod refusals;
mod setup;
mod train;
