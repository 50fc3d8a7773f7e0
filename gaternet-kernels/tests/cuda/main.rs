//! The CUDA kernels and their launch code against the f64 reference.
//!
//! Without a GPU they run on the emulator in `emulator/`, which g++ builds; with `GATERNET_CUDA=real` on device 0
//! of the machine's own driver.

mod augment;
mod batch_norm;
mod check;
mod concat;
mod conformance;
mod conv2d;
mod convert;
mod cross_entropy;
mod device;
mod dropout;
mod emulator;
mod faults;
mod gate;
mod gate_apply;
mod gate_loss;
mod graph;
mod linear;
mod mix;
mod pad;
mod pool;
mod pool2d;
mod sem_hash;
mod sgd;
mod sigmoid;

use faults::patches;
