//! What a user sees during training: a bar on a terminal, a line per epoch everywhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::evaluation::dead_warning;
use crate::note::note;
use crate::phase::{Phase, PhaseName};
use crate::run_folder::Metrics;
use crate::table::percent;

/// Progress on stderr.
pub(crate) struct Progress {
    bar: ProgressBar,
    phase: PhaseName,
    epochs: usize,
}

/// Sums over the images of an epoch so far.
#[derive(Clone)]
pub(crate) struct EpochSums {
    start: Instant,
    /// Time that it had taken before `start`, in a run that was interrupted.
    before: Duration,
    pub(crate) images: usize,
    pub(crate) correct: f64,
    pub(crate) loss: f64,
    pub(crate) open: f64,
}

impl Progress {
    /// Of a phase whose epochs have `steps` steps.
    pub(crate) fn new(phase: &Phase, steps: usize) -> Result<Progress> {
        let position = phase.position();
        let (epochs, done) = (phase.epochs(), position.epoch * steps + position.step);
        let bar = if stderr().is_terminal() {
            let style = "{prefix} [{bar:30}] {msg} eta {eta}";
            ProgressBar::new(epochs.saturating_mul(steps) as u64)
                .with_style(ProgressStyle::with_template(style)?.progress_chars("=> "))
                .with_position(done as u64)
        } else {
            ProgressBar::hidden()
        };
        bar.reset_eta();
        Ok(Progress { bar, phase: phase.name(), epochs })
    }

    /// `epoch 3/15`.
    fn title(&self, epoch: usize) -> String {
        let phase = match self.phase {
            PhaseName::Pretraining => "pre-training of the gater, ",
            PhaseName::Training => "",
        };
        format!("{phase}epoch {epoch}/{}", self.epochs)
    }

    /// Whether anybody sees steps.
    pub(crate) fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// This many more steps are done.
    pub(crate) fn step(&self, epoch: usize, sums: &EpochSums, steps: usize) {
        if self.is_hidden() {
            return;
        }
        self.bar.set_prefix(self.title(epoch));
        let gates = match self.phase {
            PhaseName::Pretraining => String::new(),
            PhaseName::Training => format!("gates {} ", percent(sums.gate_density())),
        };
        self.bar.set_message(format!(
            "loss {:.3} acc {} {gates}{:.0} images/s",
            sums.mean_loss(),
            percent(sums.accuracy()),
            sums.images as f64 / sums.elapsed().as_secs_f64()
        ));
        self.bar.inc(steps as u64);
    }

    /// The steps of an epoch are done.
    pub(crate) fn evaluating(&self) {
        self.bar.set_message("evaluating");
    }

    /// An epoch is done.
    pub(crate) fn epoch(&self, metrics: &Metrics) {
        let gates = match self.phase {
            PhaseName::Pretraining => String::new(),
            PhaseName::Training => format!(
                "gates open {}, MACs {:.3}x, ",
                percent(metrics.gate_density),
                metrics.macs_ratio
            ),
        };
        let line = format!(
            "{}: loss {:.4}, accuracy train {}, test {}, {gates}{:.0} images/s, {:.1} s",
            self.title(metrics.epoch),
            metrics.train_loss,
            percent(metrics.train_accuracy),
            percent(metrics.test_accuracy),
            metrics.images_per_second,
            metrics.seconds
        );
        self.bar.suspend(|| note(format_args!("{line}")));
    }

    /// Names the layers that have died since `before`.
    pub(crate) fn warn_of(&self, dead: &[String], before: &[String]) {
        for layer in dead.iter().filter(|layer| !before.contains(layer)) {
            self.bar.suspend(|| note(format_args!("{}", dead_warning(layer))));
        }
    }

    /// Nothing is shown any more.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl EpochSums {
    pub(crate) fn new() -> EpochSums {
        EpochSums::going_on(0, [0.0; 3], Duration::ZERO)
    }

    /// Sums of right answers, loss and open gates over the `images` of a part of an epoch that
    /// took `before`.
    pub(crate) fn going_on(
        images: usize,
        [correct, loss, open]: [f64; 3],
        before: Duration,
    ) -> EpochSums {
        EpochSums { start: Instant::now(), before, images, correct, loss, open }
    }

    /// Adds a batch of `images` with its means.
    pub(crate) fn add(&mut self, images: usize, correct: f64, loss: f32, gate_density: f64) {
        self.images += images;
        self.correct += correct;
        self.loss += images as f64 * f64::from(loss);
        self.open += images as f64 * gate_density;
    }

    /// Replaces all sums, which are of `images` images.
    #[cfg(feature = "cuda")]
    pub(crate) fn set(&mut self, images: usize, correct: f64, loss: f64, open: f64) {
        (self.images, self.correct, self.loss, self.open) = (images, correct, loss, open);
    }

    pub(crate) fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.correct / self.images as f64
    }

    fn gate_density(&self) -> f64 {
        self.open / self.images as f64
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.before + self.start.elapsed()
    }
}
