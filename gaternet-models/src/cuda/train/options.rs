//! Options of a training on a GPU.

use gaternet_kernels::cuda::augment::Augment;

/// Options of a training: batches, augmentation, learning rates.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Number of images of a step. The last step of an epoch has those that are left.
    pub batch: usize,
    /// Augmentation of images on the device; images that the caller gives to a step are taken as
    /// they are.
    pub augment: Augment,
    /// Fraction of the target that all classes get alike, 0 to 1.
    pub label_smoothing: f32,
    /// Whether the images of a batch are mixed in pairs (mixup).
    pub mixup: bool,
    /// Largest Euclidean norm of all gradients together, to which they are scaled down if theirs is
    /// larger, as [`clip_grad_norm`](gaternet_core::optim::clip_grad_norm) does it.
    pub clip_grad_norm: Option<f32>,
    /// Seed of augmentation and gate noise, which depend on the step too.
    pub seed: u64,
    /// Learning rate of every step of the training; later steps have the last.
    pub learning_rates: Vec<f32>,
    /// Number of steps at the start in which the gates are not trained: what changes over their
    /// training, as bounds, weights of their losses and temperatures do, begins after them.
    pub open_steps: usize,
    /// Whether a step is replayed as a CUDA graph, the default; otherwise its kernels are launched
    /// one by one, to the same bits.
    pub graphs: bool,
}
