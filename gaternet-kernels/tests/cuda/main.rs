//! The CUDA kernels and their launch code against the f64 reference.
//!
//! Without a GPU they run on the emulator of gaternet-kernels, which g++ builds; with
//! `GATERNET_CUDA=real` on device 0 of the machine's own driver.

mod active_filters;
mod augment;
mod batch_norm;
mod batch_shaping;
mod check;
mod concat;
mod conformance;
mod conv2d;
mod convert;
mod cross_entropy;
mod device;
mod dropout;
mod ema;
mod emulator;
mod faults;
mod gate;
mod gate_largest;
mod gate_loss;
mod gate_target;
mod global_avg_pool;
mod graph;
mod gumbel_sigmoid;
mod linear;
mod pad;
mod planting;
mod pool2d;
mod repeat_interleave;
mod sem_hash;
mod sgd;
mod shake_shake;
mod sigmoid;
mod straight_through;
