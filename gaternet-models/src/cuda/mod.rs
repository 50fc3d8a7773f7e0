//! Networks on an NVIDIA GPU: [`CudaTrainer`] trains a model, [`CudaPlan`] evaluates one.
//!
//! Both are made of a [`Model`](crate::Model): a network is a list of steps as data, which are
//! compiled to launches of the kernels of [`gaternet_kernels::cuda`] on buffers of one batch size.
//! Weights come from the model and go back to it, so that files, evaluation and export are the same
//! as on the CPU.

mod buffers;
mod emit;
mod error;
mod gates;
mod lower;
mod maps;
mod plan;
mod step;
mod train;
mod value;

use gaternet_kernels::cuda::{CudaDevice, CudaGraph};

pub use error::{Error, Result};
pub(crate) use maps::{MapLayer, PairLayer};
pub use plan::CudaPlan;
pub use step::CudaStep;
pub use train::{CudaTrainer, TrainImages, TrainOptions, TrainSums, augment, images};
pub(crate) use value::Factors;
pub use value::Value;

/// Captures what `work` launches as a graph.
fn capture(device: &CudaDevice, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
    let mut failed = None;
    let graph = CudaGraph::capture(device, || {
        work().or_else(|error| match error {
            Error::Cuda(error) => Err(error),
            other => {
                failed = Some(other);
                Ok(())
            }
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(graph?),
    }
}
