//! Tensors, reverse-mode autograd, straight-through gates, data and optimisers.
#![forbid(unsafe_code)]

pub mod autograd;
pub mod checkpoint;
mod ctx;
pub mod data;
mod error;
mod parameter;
mod shape;
pub mod storage;
mod tensor;

pub use autograd::{Backward, Gradients};
pub use ctx::Ctx;
pub use error::{Error, Misshapen, Result};
pub use parameter::{Buffer, Counter, Parameter};
pub use shape::Shape;
pub use tensor::Tensor;
