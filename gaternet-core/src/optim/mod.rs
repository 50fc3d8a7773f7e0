//! Optimisers and what goes with them: learning rates, clipped gradients, averaged weights.

mod adamw;
mod clip;
mod ema;
mod entries;
mod group;
mod schedule;
mod sgd;
#[cfg(test)]
mod testing;

pub use adamw::{AdamW, AdamWConfig};
pub use clip::clip_grad_norm;
pub use ema::Ema;
pub use group::ParameterGroup;
pub use schedule::{Decay, Schedule};
pub use sgd::{Sgd, SgdConfig, SgdParameter};

use crate::autograd::Gradients;
use crate::error::Result;
use crate::tensor::Tensor;

/// Something that moves parameters along their gradients.
///
/// A [frozen](crate::Parameter::set_requires_grad) parameter stays as it is, and so does the state
/// of it.
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

    /// The parameters that it moves, with the settings that differ from its own.
    fn groups(&self) -> &[ParameterGroup];

    /// What a checkpoint needs to have beside the parameters, so that a resumed run repeats the
    /// uninterrupted one bit by bit: tensors by names that begin with those of the parameters. A
    /// parameter that has not moved yet has none.
    fn state(&self) -> Vec<(String, Tensor)>;

    /// Continues from what [`state`](Self::state) returned. Parameters that it lacks start as in
    /// the first step.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if a name is unknown, a shape is not the parameter's
    /// or a value cannot be; then nothing has changed.
    fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<()>;
}
