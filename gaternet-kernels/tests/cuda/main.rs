//! The CUDA kernels and their launch code against the f64 reference.
//!
//! Without a GPU they run on the emulator in `emulator/`, which g++ builds; with `GATERNET_CUDA=real` on device 0
//! of the machine's own driver.

mod batch_norm;
mod check;
mod conv2d;
mod cross_entropy;
mod device;
mod emulator;
mod gate;
mod linear;
mod pool;
