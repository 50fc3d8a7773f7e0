//! Inference plans: a trained model as a fixed sequence of kernels.

mod active_lists;
mod device_plan;
mod each_sample;
mod executor;
#[cfg(feature = "cuda")]
mod gpu;
mod inference_plan;
mod kernel;
mod layout;
mod mask;
mod options;
mod pass;
#[cfg(test)]
mod tests;

pub use device_plan::Plan;
pub use inference_plan::InferencePlan;
pub(crate) use kernel::{BatchKernel, Lists, Operands, Samples};
pub use kernel::{Inputs, PlanContext, Planned, SampleKernel};
pub(crate) use mask::mask;
pub use options::PlanOptions;

const OP: &str = "inference plan";
