//! Tensors, reverse-mode autograd, straight-through gates, data and optimisers.
#![forbid(unsafe_code)]

mod autograd;
pub mod checkpoint;
mod ctx;
pub mod data;
mod error;
pub mod gate;
pub mod nn;
pub mod ops;
pub mod optim;
mod parameter;
mod shape;
pub mod storage;
mod tensor;

pub use autograd::{Backward, Gradients};
pub use ctx::Ctx;
pub use error::{Error, Misshapen, Result, digits};
pub use gaternet_kernels::Isa;
pub use parameter::{Buffer, Counter, Parameter};
pub use shape::Shape;
pub use tensor::Tensor;
