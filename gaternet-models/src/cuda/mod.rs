//! Networks on an NVIDIA GPU: [`CudaTrainer`] trains a model, [`CudaPlan`] evaluates one.
//!
//! Both are made of a [`Model`](crate::Model): a network is a list of steps as data, which are compiled to launches of the kernels
//! of [`gaternet_kernels::cuda`] on buffers of one batch size. Weights come from the model and go back to it, so that files,
//! evaluation and export are the same as on the CPU.

mod error;
mod steps;
mod train;

pub use error::{Error, Result};
pub use train::{CudaTrainer, TrainOptions, TrainSums, augment, images};
