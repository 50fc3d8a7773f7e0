//! What is on a GPU between two epochs.

use gaternet_kernels::cuda::bf16;

use crate::cuda::CudaTrainer;

/// What a phase has on the GPU from epoch to epoch.
#[derive(Default)]
pub(super) struct Gpu {
    pub(super) bf16: Option<Trainer<bf16>>,
    pub(super) f32: Option<Trainer<f32>>,
}

/// A trainer, and what it trains.
pub(super) struct Trainer<T> {
    pub(super) trainer: CudaTrainer<T>,
    /// Whether each parameter of what is trained is.
    pub(super) trained: Vec<bool>,
}
