//! What the steps of an epoch add up to.

use std::time::{Duration, Instant};

/// Sums over the images of an epoch so far.
#[derive(Debug, Clone)]
pub struct EpochSums {
    start: Instant,
    /// Time that it had taken before `start`, in a run that was interrupted.
    before: Duration,
    /// Images that were trained.
    pub images: usize,
    /// Those that were classified correctly as they were trained; with mixup, fractions of them.
    pub correct: f64,
    /// Sum of their losses, gate terms included.
    pub loss: f64,
    /// Sum of their fractions of open gates.
    pub open_gates: f64,
}

impl EpochSums {
    pub(super) fn new() -> EpochSums {
        EpochSums::going_on(0, [0.0; 3], Duration::ZERO)
    }

    /// Sums of right answers, loss and open gates over the `images` of a part of an epoch that
    /// took `before`.
    pub(super) fn going_on(
        images: usize,
        [correct, loss, open_gates]: [f64; 3],
        before: Duration,
    ) -> EpochSums {
        EpochSums { start: Instant::now(), before, images, correct, loss, open_gates }
    }

    /// Adds a batch of `images` with its means.
    pub(super) fn add(&mut self, images: usize, correct: f64, loss: f32, gate_density: f64) {
        self.images += images;
        self.correct += correct;
        self.loss += images as f64 * f64::from(loss);
        self.open_gates += images as f64 * gate_density;
    }

    /// Replaces all sums, which are of `images` images.
    #[cfg(feature = "cuda")]
    pub(super) fn set(&mut self, images: usize, correct: f64, loss: f64, open_gates: f64) {
        (self.images, self.correct, self.loss, self.open_gates) =
            (images, correct, loss, open_gates);
    }

    /// Mean loss, gate terms included.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    /// Share of images that were classified correctly, 0 to 1.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct / self.images as f64
    }

    /// Fraction of gates that were open, 0 to 1.
    #[must_use]
    pub fn gate_density(&self) -> f64 {
        self.open_gates / self.images as f64
    }

    /// Images per second of training.
    #[must_use]
    pub fn images_per_second(&self) -> f64 {
        self.images as f64 / self.elapsed().as_secs_f64()
    }

    /// Since the epoch began, pauses left out.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.before + self.start.elapsed()
    }
}
