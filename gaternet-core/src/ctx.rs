//! How a forward pass runs.

use gaternet_kernels::Isa;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::tensor::Tensor;

/// Mode, gradient tracking and randomness of one forward pass, and how far the training is.
///
/// A pass is a function of its inputs and this value alone: the same seed and stream give the same
/// numbers, so a resumed run that numbers its steps by stream repeats the uninterrupted one.
#[derive(Debug, Clone)]
pub struct Ctx {
    training: bool,
    tracks: bool,
    progress: f64,
    /// `None` for that of the process.
    isa: Option<Isa>,
    rng: ChaCha8Rng,
}

impl Ctx {
    /// Training: batch statistics, noise, gradients.
    #[must_use]
    pub fn train(seed: u64) -> Ctx {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Ctx { training: true, tracks: true, progress: 0.0, isa: None, rng }
    }

    /// Evaluation: running statistics, no noise, no gradients.
    #[must_use]
    pub fn eval() -> Ctx {
        let rng = ChaCha8Rng::seed_from_u64(0);
        Ctx { training: false, tracks: false, progress: 0.0, isa: None, rng }
    }

    /// The same mode, with gradients.
    #[must_use]
    pub fn with_grad(self) -> Ctx {
        Ctx { tracks: true, ..self }
    }

    /// The same seed, at the start of the stream number `stream` (a step, say).
    #[must_use]
    pub fn with_stream(mut self, stream: u64) -> Ctx {
        self.rng.set_stream(stream);
        self.rng.set_word_pos(0);
        self
    }

    /// The pass is step `step`, from 0, of a training of `steps` steps: for what changes in the
    /// course of it, as temperatures and bounds of gates do. Without, it is the first.
    #[must_use]
    pub fn with_progress(self, step: usize, steps: usize) -> Ctx {
        Ctx { progress: (step as f64 / steps.max(1) as f64).min(1.0), ..self }
    }

    /// The pass runs with the instruction set `isa`, a value that proves that the machine has it,
    /// instead of the process's, [`Isa::current`]: its parameters carry it to the ops, and to those
    /// of the backward pass. An op that sees neither a parameter nor the result of one goes by the
    /// instruction set of its inputs: see [`input`](Self::input).
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Ctx {
        Ctx { isa: Some(isa), ..self }
    }

    /// `x` for the ops of the pass: with its instruction set.
    #[must_use]
    pub fn input(&self, x: &Tensor) -> Tensor {
        x.clone().on(self.isa)
    }

    /// True in a training pass.
    #[must_use]
    pub fn training(&self) -> bool {
        self.training
    }

    /// True if parameters enter the graph.
    #[must_use]
    pub fn tracks(&self) -> bool {
        self.tracks
    }

    /// Share of the training that is done, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        self.progress
    }

    /// What [`with_isa`](Self::with_isa) was given.
    pub(crate) fn own_isa(&self) -> Option<Isa> {
        self.isa
    }

    /// The randomness.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn progress_is_a_fraction() {
        let progress = |step, steps| Ctx::train(0).with_progress(step, steps).progress();
        assert_eq!([progress(0, 8), progress(2, 8), progress(9, 8)], [0.0, 0.25, 1.0]);
        assert_eq!([progress(0, 0), Ctx::train(0).progress()], [0.0, 0.0]);
    }

    #[test]
    fn a_stream_depends_on_seed_and_number_only() {
        let first = |seed, stream| Ctx::train(seed).with_stream(stream).rng().next_u64();
        let mut used = Ctx::train(1);
        used.rng().next_u64();
        assert_eq!(used.with_stream(5).rng().next_u64(), first(1, 5));
        assert_ne!(first(1, 5), first(1, 6));
        assert_ne!(first(1, 5), first(2, 5));
    }
}
