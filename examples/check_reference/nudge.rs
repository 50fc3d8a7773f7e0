//! What is moved for a comparison.

use std::fmt;

/// A bias that was moved to the reference's side of a kink.
#[derive(Debug, Clone)]
pub(crate) struct Nudge {
    pub(crate) parameter: String,
    pub(crate) channel: usize,
    pub(crate) by: f32,
}

impl fmt::Display for Nudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nudge { parameter, channel, by } = self;
        write!(
            f,
            "a ReLU input rounds to the other side of 0: moved {parameter}[{channel}] by {by:e}"
        )
    }
}
