//! Whether a training still computes with numbers.

use gaternet_core::Tensor;
use gaternet_core::nn::State;

use super::error::{Error, Result};
use super::phase::Phase;

impl Phase {
    /// `Err` naming the layer if the loss at step `step` of `steps`, or a value of `state`, that
    /// of the model, is not finite.
    pub(super) fn check_finite(
        &self,
        loss: f64,
        state: &[(String, State)],
        [step, steps]: [usize; 2],
        kept: &str,
    ) -> Result<()> {
        let layer = first_not_finite(state);
        if loss.is_finite() && layer.is_none() {
            return Ok(());
        }
        let what = match layer {
            Some(name) if loss.is_finite() => format!("{name} is no longer finite"),
            Some(name) => format!("the loss became {loss}, first in {name},"),
            None => format!("the loss became {loss}, first in the output layer,"),
        };
        let (epoch, rate) = (self.epoch + 1, self.schedule.learning_rate(step - 1, steps));
        let event = format!(
            "{what} in epoch {epoch} of the {}, step {step} of {steps}, at learning rate {rate}",
            self.name
        );
        Err(Error::Diverged { event, kept: kept.to_owned() })
    }
}

/// The first entry that holds a NaN or an infinity. A gater runs before its backbone.
fn first_not_finite(state: &[(String, State)]) -> Option<&str> {
    let finite = |state: &State| match state {
        State::Parameter(parameter) => all_finite(&parameter.tensor()),
        State::Buffer(buffer) => all_finite(&buffer.tensor()),
        State::Counter(_) => true,
    };
    let bad = || state.iter().filter(|(_, state)| !finite(state)).map(|(name, _)| name.as_str());
    bad().find(|name| name.starts_with("gater.")).or_else(|| bad().next())
}

/// Without a way out early, so that it runs at the speed of the memory.
fn all_finite(tensor: &Tensor) -> bool {
    tensor.data().iter().fold(true, |all, value| all & value.is_finite())
}
