//! ReLU inputs that two correct computations round to different sides of 0.
//!
//! A ReLU has two one-sided derivatives at 0. Of the millions of ReLU inputs of a batch, one may lie so
//! close to 0 that rounding decides its sign; then two f32 implementations differ by that one position
//! in every gradient below it, by far more than their rounding (1e-3 against 1e-6), and both are right.
//!
//! Such a position is found, not assumed: going backward, the first bias whose gradient is off belongs
//! to the layer of the kink, and its channel is the one that differs most. If moving that bias by
//! [`NUDGE`], about the rounding of its layer's output, brings the gradients there closer, it was a
//! kink; a wrong gradient stays wrong.

use std::fmt;

use anyhow::Result;

use crate::reference::{GRADIENT, Pass, Reference};

/// How far a bias is moved: a few units in the last place of activations of size 1 to 8.
const NUDGE: f32 = 2e-6;

/// More kinks than this in one batch are taken for a wrong gradient.
const MAX_NUDGES: usize = 64;

/// Relative error above which a gradient is off by more than rounding.
const ROUNDING: f64 = 3e-5;

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
        write!(f, "a ReLU input within {NUDGE:e} of 0: moved {parameter}[{channel}] by {by:e}")
    }
}

/// The training pass whose gradients agree, and what had to be moved for it: nothing, unless a gradient
/// is over its bound.
pub(crate) fn resolve(reference: &Reference) -> Result<(Vec<Nudge>, Pass)> {
    let mut nudges = Vec::new();
    let mut pass = reference.training_pass(&nudges)?;
    while nudges.len() < MAX_NUDGES && worst_error(reference, &pass)? > GRADIENT.bound() {
        let Some(off) = first_off(reference, &pass)? else { break };
        let mut moved = None;
        for by in [NUDGE, -NUDGE] {
            nudges.push(Nudge { parameter: off.parameter.clone(), channel: off.channel, by });
            let attempt = reference.training_pass(&nudges)?;
            if first_off(reference, &attempt)?.is_none_or(|next| next.improves_on(&off)) {
                moved = Some(attempt);
                break;
            }
            nudges.pop();
        }
        let Some(better) = moved else { break };
        pass = better;
    }
    // The model's state is that of the last attempt, which need not be the best.
    let pass = reference.training_pass(&nudges)?;
    Ok((nudges, pass))
}

/// The first bias whose gradient is off, in the order of the backward pass.
struct Off {
    place: usize,
    parameter: String,
    /// The channel that is off most.
    channel: usize,
    error: f64,
}

impl Off {
    /// Closer to the input, or clearly smaller: another kink of the same layer is left.
    fn improves_on(&self, before: &Off) -> bool {
        self.place > before.place || self.place == before.place && self.error < 0.9 * before.error
    }
}

fn worst_error(reference: &Reference, pass: &Pass) -> Result<f64> {
    let gradients = reference.parameter_gradients(pass)?;
    let errors = gradients.iter().map(|(_, got, want)| GRADIENT.error(got, want));
    Ok(errors.fold(0.0, f64::max))
}

/// The order of the backward pass is the backbone from its end, then the gater from its end.
fn first_off(reference: &Reference, pass: &Pass) -> Result<Option<Off>> {
    let mut gradients = reference.parameter_gradients(pass)?;
    gradients.reverse();
    gradients.sort_by_key(|(name, ..)| name.starts_with("gater."));
    let biases = gradients.iter().enumerate().filter(|(_, (name, ..))| name.ends_with(".bias"));
    for (place, (name, got, want)) in biases {
        let error = GRADIENT.error(got, want);
        if error > ROUNDING {
            let difference = |i: &usize| (got[*i] - want[*i]).abs();
            let channel = (0..want.len()).max_by(|a, b| difference(a).total_cmp(&difference(b)));
            let parameter = name.clone();
            return Ok(channel.map(|channel| Off { place, parameter, channel, error }));
        }
    }
    Ok(None)
}
