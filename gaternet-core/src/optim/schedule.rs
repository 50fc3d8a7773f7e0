//! How the learning rate changes during training.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A learning rate for each step: a linear warm-up to `peak`, then a decay.
///
/// With T steps in all and `W = round(warmup · T)`, step s < W has `peak · (s + 1) / W`; later
/// steps are the decay's. Steps count from 0, and steps from T on are as step T - 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Share of the steps that warm up, 0 to 1 (exclusive).
    #[serde(default)]
    pub warmup: f64,
    /// What follows.
    pub decay: Decay,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Decay {
    /// `peak`.
    Constant,
    /// `peak · gamma^k`, where k is the number of milestones m with `s >= round(m · T)`.
    Step {
        /// Shares of all steps, ascending: epochs 80 and 120 of 160 are `[0.5, 0.75]`.
        milestones: Vec<f64>,
        /// Factor at each milestone.
        gamma: f64,
    },
    /// `last + (peak - last) · (1 + cos(pi · (s - W) / (T - W))) / 2`.
    Cosine {
        /// The learning rate that step T would have.
        #[serde(default)]
        last: f64,
    },
    /// `torch.optim.lr_scheduler.OneCycleLR` with cosine annealing: from `peak / div` at step 0 up
    /// to `peak` at step `pct_start · T - 1`, down to `peak / div / final_div` at step T - 1. Takes
    /// no warm-up.
    OneCycle {
        /// Share of the steps that climb; PyTorch's default is 0.3.
        pct_start: f64,
        /// PyTorch's `div_factor`, by default 25.
        div: f64,
        /// PyTorch's `final_div_factor`, by default 1e4.
        final_div: f64,
    },
}

impl Decay {
    /// The name that recipes and the metadata of checkpoints have for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Decay::Constant => "constant",
            Decay::Step { .. } => "step",
            Decay::Cosine { .. } => "cosine",
            Decay::OneCycle { .. } => "one-cycle",
        }
    }
}

impl Schedule {
    /// A decay from `peak`, without warm-up.
    #[must_use]
    pub fn new(peak: f64, decay: Decay) -> Schedule {
        Schedule { peak, warmup: 0.0, decay }
    }

    /// The same schedule with another peak.
    #[must_use]
    pub fn with_peak(self, peak: f64) -> Schedule {
        Schedule { peak, ..self }
    }

    /// The same schedule with this fraction of the steps as a warm-up.
    #[must_use]
    pub fn with_warmup(self, warmup: f64) -> Schedule {
        Schedule { warmup, ..self }
    }

    /// `Err` if a setting is out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting.
    pub fn validate(&self) -> Result<()> {
        require("peak", self.peak, "must be finite and not negative", |x| x >= 0.0)?;
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        require("warmup", self.warmup, "must be at least 0 and below 1", fraction)?;
        match &self.decay {
            Decay::Constant => Ok(()),
            Decay::Step { milestones, gamma } => {
                require("gamma", *gamma, "must be positive", |x| x > 0.0)?;
                if milestones.iter().all(|&m| fraction(m)) && milestones.is_sorted() {
                    return Ok(());
                }
                Err(Error::Config {
                    field: "milestones",
                    value: format!("{milestones:?}"),
                    rule: "must be fractions of the training, at least 0 and below 1, ascending",
                })
            }
            Decay::Cosine { last } => {
                require("last", *last, "must lie between 0 and the peak", |x| {
                    (0.0..=self.peak).contains(&x)
                })
            }
            Decay::OneCycle { pct_start, div, final_div } => {
                require("warmup", self.warmup, "one cycle has its own warm-up", |x| x == 0.0)?;
                require("pct_start", *pct_start, "must be at least 0 and below 1", fraction)?;
                require("div", *div, "must be at least 1", |x| x >= 1.0)?;
                require("final_div", *final_div, "must be at least 1", |x| x >= 1.0)
            }
        }
    }

    /// The learning rate of step `step` of `total`.
    #[must_use]
    pub fn learning_rate(&self, step: usize, total: usize) -> f32 {
        let (step, total) = (step.min(total.saturating_sub(1)) as f64, total as f64);
        let warmup = (self.warmup * total).round();
        let rate = if step < warmup {
            self.peak * (step + 1.0) / warmup
        } else {
            self.decay.rate(self.peak, warmup, step, total)
        };
        rate as f32
    }
}

impl Decay {
    fn rate(&self, peak: f64, warmup: f64, step: f64, total: f64) -> f64 {
        match *self {
            Decay::Constant => peak,
            Decay::Step { ref milestones, gamma } => {
                let passed = milestones.iter().filter(|&m| step >= (m * total).round()).count();
                peak * gamma.powf(passed as f64)
            }
            Decay::Cosine { last } => anneal(peak, last, (step - warmup) / (total - warmup)),
            Decay::OneCycle { pct_start, div, final_div } => {
                let top = pct_start * total - 1.0;
                let first = peak / div;
                if step <= top {
                    anneal(first, peak, if top > 0.0 { step / top } else { 1.0 })
                } else {
                    anneal(peak, first / final_div, (step - top) / (total - 1.0 - top))
                }
            }
        }
    }
}

/// Half a cosine from `from` (at 0) to `to` (at 1).
fn anneal(from: f64, to: f64, at: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * at).cos()) / 2.0
}

fn require(
    field: &'static str,
    value: f64,
    rule: &'static str,
    holds: impl Fn(f64) -> bool,
) -> Result<()> {
    if value.is_finite() && holds(value) {
        return Ok(());
    }
    Err(Error::Config { field, value: value.to_string(), rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: &Schedule, total: usize) -> Vec<f32> {
        schedule.validate().expect("in range");
        (0..total).map(|step| schedule.learning_rate(step, total)).collect()
    }

    fn assert_rates(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        for (step, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= 1e-5 * want.abs(), "step {step}: {got}, not {want}");
        }
    }

    #[test]
    fn step_multiplies_at_the_milestones() {
        let decay = Decay::Step { milestones: vec![0.5, 0.75], gamma: 0.1 };
        let schedule = Schedule { peak: 0.1, warmup: 0.0, decay };
        assert_rates(&rates(&schedule, 8), &[0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]);
        // 0.29 · 100 is 28.999... in binary; the milestone is step 29 all the same.
        let decay = Decay::Step { milestones: vec![0.29], gamma: 0.5 };
        let schedule = Schedule { peak: 1.0, warmup: 0.0, decay };
        assert_eq!((schedule.learning_rate(28, 100), schedule.learning_rate(29, 100)), (1.0, 0.5));
    }

    #[test]
    fn warm_up_is_linear_and_the_decay_starts_at_the_peak() {
        let schedule = Schedule { peak: 1.0, warmup: 0.5, decay: Decay::Cosine { last: 0.2 } };
        let half = 0.2 + 0.8 * (1.0 + (PI / 4.0).cos()) / 2.0;
        let three = 0.2 + 0.8 * (1.0 + (0.75 * PI).cos()) / 2.0;
        let want = [0.25, 0.5, 0.75, 1.0, 1.0, half as f32, 0.6, three as f32];
        assert_rates(&rates(&schedule, 8), &want);
        assert_eq!(schedule.learning_rate(80, 8), schedule.learning_rate(7, 8));
    }

    /// `OneCycleLR(SGD([p], 1.0), max_lr=1.0, total_steps=10, pct_start=0.3)`
    #[test]
    fn one_cycle_agrees_with_pytorch() {
        let decay = Decay::OneCycle { pct_start: 0.3, div: 25.0, final_div: 1e4 };
        let schedule = Schedule { peak: 1.0, warmup: 0.0, decay };
        let want = [
            0.04,
            0.52,
            1.0,
            0.950_484_6,
            0.811_745_7,
            0.611_261_2,
            0.388_742_8,
            0.188_258_3,
            0.049_519_37,
            4e-6,
        ];
        assert_rates(&rates(&schedule, 10), &want);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let decay = Decay::Step { milestones: vec![0.75, 0.5], gamma: 0.1 };
        let bad = [
            (Schedule { peak: -1.0, warmup: 0.0, decay: Decay::Constant }, "peak"),
            (Schedule { peak: 1.0, warmup: 1.0, decay: Decay::Constant }, "warmup"),
            (Schedule { peak: 1.0, warmup: 0.0, decay }, "milestones"),
            (Schedule { peak: 1.0, warmup: 0.0, decay: Decay::Cosine { last: 2.0 } }, "last"),
        ];
        for (schedule, field) in bad {
            let error = schedule.validate().expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
