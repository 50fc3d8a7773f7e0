//! Tensors, reverse-mode autograd, straight-through gates, data and optimisers.
//!
//! A [`Tensor`] holds f32 on the CPU. The functions of [`ops`] and the layers of [`nn`] compute
//! with tensors; those of a pass whose [`Ctx`] tracks gradients are recorded, and
//! [`Tensor::backward`] returns the [`Gradients`] of parameters and leaves. [`optim`] moves the
//! parameters, [`checkpoint`] keeps them in files, [`data`] has images to train with. [`gate`]
//! decides which filters of a convolution run.
//!
//! ```
//! use gaternet_core::nn::{CrossEntropyLoss, Linear, Module};
//! use gaternet_core::optim::{AdamW, AdamWConfig, Optimizer};
//! use gaternet_core::{Ctx, Tensor};
//!
//! # fn main() -> gaternet_core::Result<()> {
//! let mut ctx = Ctx::train(0); // the seed of all that is random
//! let (x, labels) = (Tensor::from([[1.0, 0.0], [0.0, 1.0]]), [0, 1]);
//! let linear = Linear::new(2, 2, ctx.rng())?;
//! let config = AdamWConfig::default().with_learning_rate(0.1);
//! let mut adamw = AdamW::new(linear.parameters(), config)?;
//! for _ in 0..20 {
//!     let logits = linear.forward(&x, &ctx)?;
//!     let loss = CrossEntropyLoss::default().forward(&logits, &labels[..])?;
//!     adamw.step(&loss.backward()?)?;
//! }
//! assert_eq!(linear.forward(&x, &Ctx::eval())?.argmax(1)?, labels);
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod autograd;
pub mod checkpoint;
mod ctx;
pub mod data;
mod error;
pub mod gate;
pub mod memory;
pub mod nn;
pub mod ops;
pub mod optim;
mod parameter;
mod shape;
mod storage;
mod tensor;

pub use autograd::{Backward, Gradients};
pub use ctx::Ctx;
pub use error::{Error, Misshapen, Result, digits};
pub use parameter::{Buffer, Counter, Parameter};
pub use rand::Rng;
pub use rand_chacha::ChaCha8Rng;
pub use rand_chacha::rand_core::SeedableRng;
pub use shape::Shape;
pub use tensor::Tensor;

// Types of other crates in what this one offers, so that a program needs none of them by name.
pub use gaternet_kernels::{ActiveFilters, Isa, KernelError};
#[cfg(feature = "ndarray")]
pub use ndarray::{ArrayD, ArrayViewD};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
