//! The ops of a network's steps, one file each: what each computes on tensors, in a plan, on a GPU
//! and in an ONNX file.

mod concat;
mod conv2d;
mod dropout;
mod global_avg_pool;
mod identity;
mod linear;
mod norm_kernel;
mod op;
mod pad;
mod pool2d;
mod scale_channels;
mod scale_shift;
mod shake_shake;
mod sigmoid;

pub(crate) use concat::Concat;
pub(crate) use dropout::Dropout;
pub(crate) use global_avg_pool::GlobalAvgPool;
pub(crate) use identity::Identity;
pub use op::{Filters, Op, Reads};
pub(crate) use pad::Pad;
pub(crate) use pool2d::{AvgPool2d, MaxPool2d};
pub(crate) use scale_channels::ScaleChannels;
pub(crate) use scale_shift::scale_shift;
pub(crate) use shake_shake::ShakeShake;
pub(crate) use sigmoid::Sigmoid;
