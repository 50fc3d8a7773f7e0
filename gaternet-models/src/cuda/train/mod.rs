//! Training on a GPU: a network's steps compiled to launches on buffers that are made once.

mod apply;
mod averages;
mod builder;
mod conv;
mod gates;
mod gating;
mod host_data;
mod input;
mod map;
mod metrics;
mod node;
mod norm;
mod options;
mod pass;
mod row_norm;
mod rows;
mod sum;
mod train_step;
mod trainer;
mod weights;

pub use host_data::{augment, images};
pub use input::TrainImages;
pub use metrics::TrainSums;
pub use options::TrainOptions;
pub use trainer::CudaTrainer;
