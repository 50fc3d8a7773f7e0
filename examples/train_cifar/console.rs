//! What a user sees during training: a bar on a terminal, a line per epoch everywhere; and signals,
//! which end it.

use std::fmt::Display;
use std::io::{IsTerminal, stderr};

use gaternet::cli::note::note;
use gaternet::cli::table::percent;
use gaternet::models::train::{Metrics, Observer, PhaseName, PhaseStart, Steps, Warning};
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt::Interrupt;

/// Progress on stderr.
pub(crate) struct Console {
    interrupt: Interrupt,
    /// Hidden where nobody sees it.
    bar: ProgressBar,
    phase: PhaseName,
    /// Of the phase.
    epochs: usize,
    /// Epochs done since the program began.
    done: usize,
}

impl Console {
    pub(crate) fn new(interrupt: Interrupt) -> Console {
        let bar = ProgressBar::hidden();
        Console { interrupt, bar, phase: PhaseName::Training, epochs: 0, done: 0 }
    }

    /// Epochs done since the program began, of all runs.
    pub(crate) fn epochs_done(&self) -> usize {
        self.done
    }

    /// `epoch 3/15`.
    fn title(&self, epoch: usize) -> String {
        let phase = match self.phase {
            PhaseName::Pretraining => "pre-training of the gater, ",
            PhaseName::Training => "",
        };
        format!("{phase}epoch {epoch}/{}", self.epochs)
    }

    fn say(&self, line: impl Display) {
        self.bar.suspend(|| note(line));
    }
}

impl Observer for Console {
    fn phase_begins(&mut self, phase: &PhaseStart) {
        let PhaseStart { position, epochs, steps } = *phase;
        (self.phase, self.epochs, self.bar) = (position.phase, epochs, ProgressBar::hidden());
        let style = "{prefix} [{bar:30}] {msg} eta {eta}";
        if let (true, Ok(style)) = (stderr().is_terminal(), ProgressStyle::with_template(style)) {
            let done = position.epoch * steps + position.step;
            self.bar = ProgressBar::new(epochs.saturating_mul(steps) as u64)
                .with_style(style.progress_chars("=> "))
                .with_position(done as u64);
        }
        self.bar.reset_eta();
    }

    fn watches_steps(&self) -> bool {
        !self.bar.is_hidden()
    }

    fn steps_done(&mut self, steps: &Steps<'_>) {
        if self.bar.is_hidden() {
            return;
        }
        let Steps { epoch, steps, sums } = *steps;
        self.bar.set_prefix(self.title(epoch));
        let gates = match self.phase {
            PhaseName::Pretraining => String::new(),
            PhaseName::Training => format!("gates {} ", percent(sums.gate_density())),
        };
        self.bar.set_message(format!(
            "loss {:.3} acc {} {gates}{:.0} images/s",
            sums.mean_loss(),
            percent(sums.accuracy()),
            sums.images_per_second()
        ));
        self.bar.inc(steps as u64);
    }

    fn evaluation_begins(&mut self) {
        self.bar.set_message("evaluating");
    }

    fn epoch_ends(&mut self, _: PhaseName, metrics: &Metrics) {
        self.done += 1;
        let gates = match self.phase {
            PhaseName::Pretraining => String::new(),
            PhaseName::Training => format!(
                "gates open {}, MACs {:.3}x, ",
                percent(metrics.gate_density),
                metrics.macs_ratio
            ),
        };
        self.say(format_args!(
            "{}: loss {:.4}, accuracy train {}, test {}, {gates}{:.0} images/s, {:.1} s",
            self.title(metrics.epoch),
            metrics.train_loss,
            percent(metrics.train_accuracy),
            percent(metrics.test_accuracy),
            metrics.images_per_second,
            metrics.seconds
        ));
    }

    fn phase_ends(&mut self) {
        self.bar.finish_and_clear();
    }

    fn warning(&mut self, warning: &Warning) {
        self.say(warning);
    }

    fn should_stop(&self) -> bool {
        self.interrupt.signal().is_some()
    }
}
