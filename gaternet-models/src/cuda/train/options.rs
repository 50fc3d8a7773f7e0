//! How a training goes.

use gaternet_kernels::cuda::augment::Augment;

/// How a training goes through its images.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Images of a step. The last step of an epoch has those that are left.
    pub batch: usize,
    /// What is done to an image on the device; one that a step gets is taken as it is.
    pub augment: Augment,
    /// Share of the target that all classes get alike, 0 to 1.
    pub label_smoothing: f32,
    /// Whether the images of a batch are blended in pairs.
    pub mixup: bool,
    /// All gradients are scaled down to this Euclidean norm, if they are longer together, as
    /// [`clip_grad_norm`](gaternet_core::optim::clip_grad_norm) does it.
    pub clip_grad_norm: Option<f32>,
    /// Decides augmentation and gate noise, together with the step.
    pub seed: u64,
    /// The learning rate of every step of the training; beyond them the last.
    pub learning_rates: Vec<f32>,
    /// Steps at the start in which the gates are not trained: what changes over their training, as bounds, weights of
    /// their losses and temperatures do, begins after them.
    pub open_steps: usize,
    /// Replay a step as a CUDA graph, the default; otherwise launch its kernels one by one, to the same bits.
    pub graphs: bool,
}
