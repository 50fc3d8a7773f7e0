//! Networks on an NVIDIA GPU: [`CudaTrainer`] trains a model, [`CudaPlan`] evaluates one.
//!
//! Both are made of a [`Model`](crate::Model): a network is a list of steps as data, which are compiled to launches of
//! the kernels of [`gaternet_kernels::cuda`] on buffers of one batch size. Weights come from the model and go back to it,
//! so that files, evaluation and export are the same as on the CPU.

mod buffers;
mod error;
mod maps;
mod plan;
mod steps;
mod train;

use gaternet_core::gate::GateFloor;
use gaternet_kernels::cuda::{CudaDevice, CudaGraph};

pub use error::{Error, Result};
pub use plan::CudaPlan;
pub use train::{CudaTrainer, TrainOptions, TrainSums, augment, images};

use crate::gated_config::GatedConfig;

/// `Err` unless every column of the gater's output is the gate of one filter, and nothing else decides it.
fn check_gates(config: &GatedConfig) -> Result<()> {
    if config.group > 1 {
        return error::unsupported(format!("gates of groups of {} filters", config.group));
    }
    if config.floor != GateFloor::default() {
        return error::unsupported("gates that a floor keeps open");
    }
    Ok(())
}

/// What `work` launches, as a graph.
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
