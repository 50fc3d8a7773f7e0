//! ReLU inputs that two correct computations round to different sides of 0.
//!
//! A ReLU has two one-sided derivatives at 0. Of the millions of ReLU inputs of a batch, one may
//! lie so close to 0 that rounding decides its sign; then two f32 implementations differ by that
//! one position in every gradient below it, by far more than their rounding (1e-3 against 1e-6),
//! and both are right.
//!
//! Such a position is found, not assumed: going backward, the first bias whose gradient is off
//! belongs to the layer of the kink, and its channel is the one that differs most. If moving that
//! bias by one of [`NUDGES`], about the rounding of its layer's output, brings the gradients there
//! closer, it was a kink; a wrong gradient stays wrong.

use anyhow::Result;

use crate::nudge::Nudge;
use crate::reference::{GRADIENT, Pass, Reference};

/// How far a bias is moved, smallest first: up to a few units in the last place of activations of
/// size 1 to 8. A step larger than needed can push later inputs over their kinks.
const NUDGES: [f32; 4] = [2.5e-7, 5e-7, 1e-6, 2e-6];

/// More kinks than this in one batch are taken for a wrong gradient.
const MAX_NUDGES: usize = 64;

/// Relative error above which a gradient is off by more than rounding.
const ROUNDING: f64 = 3e-5;

/// Layers tried for one kink: a flip that changes its own layer little may be hidden below others.
const MAX_LAYERS: usize = 12;

/// The training pass whose gradients agree, and what had to be moved for it: nothing, unless a
/// gradient is over its bound.
pub(crate) fn resolve(reference: &Reference) -> Result<(Vec<Nudge>, Pass)> {
    let mut nudges = Vec::new();
    let mut gradients = Gradients::of(reference, &reference.training_pass(&nudges)?)?;
    while nudges.len() < MAX_NUDGES && gradients.worst > GRADIENT.bound() {
        let Some(better) = step(reference, &gradients, &mut nudges)? else { break };
        gradients = better;
    }
    // The model's state is that of the last attempt, which need not be the best.
    let pass = reference.training_pass(&nudges)?;
    Ok((nudges, pass))
}

/// Adds the first nudge that brings the gradients closer, if there is one.
fn step(
    reference: &Reference,
    before: &Gradients,
    nudges: &mut Vec<Nudge>,
) -> Result<Option<Gradients>> {
    for off in before.off.iter().take(MAX_LAYERS) {
        for by in NUDGES.into_iter().flat_map(|by| [by, -by]) {
            nudges.push(Nudge { parameter: off.parameter.clone(), channel: off.channel, by });
            let after = Gradients::of(reference, &reference.training_pass(nudges)?)?;
            if after.closer_than(before) {
                return Ok(Some(after));
            }
            nudges.pop();
        }
    }
    Ok(None)
}

/// How far the gradients of a pass are from the reference's.
struct Gradients {
    /// The worst relative error of all parameters.
    worst: f64,
    /// Biases whose gradient is off by more than rounding, in the order of the backward pass: the
    /// backbone from its end, then the gater from its end.
    off: Vec<Off>,
}

struct Off {
    place: usize,
    parameter: String,
    /// The channel that is off most.
    channel: usize,
    error: f64,
}

impl Gradients {
    fn of(reference: &Reference, pass: &Pass) -> Result<Gradients> {
        let mut gradients = reference.parameter_gradients(pass)?;
        gradients.reverse();
        gradients.sort_by_key(|(name, ..)| name.starts_with("gater."));
        let (mut worst, mut off) = (0.0, Vec::new());
        for (place, (name, got, want)) in gradients.iter().enumerate() {
            let error = GRADIENT.error(got, want);
            worst = f64::max(worst, error);
            let difference = |i: &usize| (got[*i] - want[*i]).abs();
            let most = (0..want.len()).max_by(|a, b| difference(a).total_cmp(&difference(b)));
            if let Some(channel) = most.filter(|_| error > ROUNDING && name.ends_with(".bias")) {
                off.push(Off { place, parameter: name.clone(), channel, error });
            }
        }
        Ok(Gradients { worst, off })
    }

    /// Clearly smaller errors, or right up to a later place.
    fn closer_than(&self, before: &Gradients) -> bool {
        let later = match (self.off.first(), before.off.first()) {
            (Some(now), Some(then)) => {
                now.place > then.place || now.place == then.place && now.error < 0.9 * then.error
            }
            (now, _) => now.is_none(),
        };
        later || self.worst < 0.9 * before.worst
    }
}
