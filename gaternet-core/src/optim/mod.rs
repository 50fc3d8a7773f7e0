//! Optimisers and what goes with them: learning rates, clipped gradients, averaged weights.

mod clip;
mod ema;
mod schedule;
mod sgd;

pub use clip::clip_grad_norm;
pub use ema::Ema;
pub use schedule::{Decay, Schedule};
pub use sgd::{ParameterGroup, Sgd, SgdConfig, SgdParameter};

use crate::autograd::Gradients;
use crate::error::Result;

/// Something that moves parameters along their gradients.
pub trait Optimizer {
    /// Moves every parameter once.
    ///
    /// # Errors
    /// [`Error::MissingGradient`](crate::Error::MissingGradient), naming the parameter, if one has
    /// none; then no parameter has moved.
    fn step(&mut self, gradients: &Gradients) -> Result<()>;

    /// The learning rate of the next step.
    fn learning_rate(&self) -> f32;

    /// Sets the learning rate of the next steps.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if it is negative or not finite.
    fn set_learning_rate(&mut self, learning_rate: f32) -> Result<()>;
}
