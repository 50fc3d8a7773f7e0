//! Kernels for NVIDIA GPUs, on buffers in device memory.
//!
//! The CUDA sources are in `kernels-cu/` and are compiled when they are first used; nothing of CUDA
//! is needed to build this crate. Every public function checks the lengths of its buffers against
//! the dims before it launches, and returns before the device has run it: all work of a
//! [`CudaDevice`] is done in order on its one stream, and only copies to the host wait for it.

mod active_filters;
pub mod augment;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod batch_shaping;
mod buffer;
mod capture;
mod clock;
mod compile;
pub mod concat;
pub mod conv2d;
pub mod convert;
pub mod cross_entropy;
mod device;
pub mod dropout;
pub mod ema;
mod error;
pub mod gate;
pub mod gate_largest;
pub mod gate_loss;
pub mod gate_target;
mod gated_layers;
pub mod global_avg_pool;
mod graph;
pub mod gumbel_sigmoid;
mod launch;
pub mod layout;
pub mod linear;
pub mod max_pool2d;
mod nvrtc;
mod options;
pub mod pad;
mod planes;
mod pool2d;
pub mod repeat_interleave;
pub mod sem_hash;
pub mod sgd;
pub mod shake_shake;
pub mod sigmoid;
mod source;
mod sources;
mod store;
pub mod straight_through;
mod table;
mod weight;

pub use active_filters::CudaActiveFilters;
pub use buffer::{CudaBuffer, CudaElement};
pub use clock::{Clock, PerStep, Stream};
pub use compile::{Compiler, Image, Origin};
pub use device::CudaDevice;
pub use error::{CudaError, Result};
pub use gated_layers::GatedLayers;
pub use graph::CudaGraph;
pub use half::bf16;
pub use options::{CudaOptions, Products};
pub use planes::Activation;
pub use repeat_interleave::SharedGates;
pub use source::Source;
pub use sources::{build_cubins, sources};
pub use weight::Weight;
