//! How the weights are found.

use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use gaternet::cli::command_line::write_value;
use gaternet::core::optim::{Decay, Schedule};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Optimisation")]
pub(crate) struct OptimArgs {
    /// Passes over the training images [default: 15 on CIFAR, 5 on the built-in set]
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,

    /// Images per training step
    #[arg(long, value_name = "IMAGES", default_value_t = 128)]
    pub(crate) batch_size: usize,

    /// Leave out the last step of an epoch if fewer images are left for it
    #[arg(long)]
    pub(crate) drop_last: bool,

    /// Highest learning rate [default: 0.2 with one-cycle, else 0.1]
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,

    /// L2 penalty of every parameter [default: 1e-4 with step, else 5e-4]
    #[arg(long, value_name = "FACTOR")]
    pub(crate) weight_decay: Option<f32>,

    /// How the learning rate changes from step to step
    #[arg(long, value_enum, default_value = "one-cycle")]
    pub(crate) schedule: ScheduleName,

    /// With the schedule step: after which fractions of all steps the learning rate drops [default:
    /// 0.5,0.75]
    #[arg(long, value_name = "FRACTIONS", value_delimiter = ',')]
    pub(crate) milestones: Option<Vec<f64>>,

    /// With the schedule step: the factor of each drop [default: 0.1]
    #[arg(long, value_name = "FACTOR")]
    pub(crate) gamma: Option<f64>,

    /// With the schedules step and cosine: fraction of the steps in which the learning rate climbs
    /// [default: 0 with step, 0.05 with cosine]
    #[arg(long, value_name = "FRACTION", verbatim_doc_comment)]
    pub(crate) warmup: Option<f64>,

    /// The gradients of a step are scaled down to this Euclidean norm, if they are longer together
    #[arg(long, value_name = "NORM")]
    pub(crate) clip_grad_norm: Option<f32>,

    /// Evaluate and save an exponential moving average of weights and batch norm statistics, with
    /// this decay: about 1 / (1 - DECAY) steps enter it; it warms up, min(DECAY, (1 + n) / (10 +
    /// n)) after n steps
    #[arg(long, value_name = "DECAY", verbatim_doc_comment)]
    pub(crate) ema: Option<f32>,
}

/// A family of learning rates.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum ScheduleName {
    /// A drop at each of --milestones, as in the paper
    Step,
    /// Half a cosine down to 0
    Cosine,
    /// Up over the first 3/10 of the steps, then down to almost 0: for few epochs
    OneCycle,
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}

impl OptimArgs {
    pub(crate) fn schedule(&self) -> Result<Schedule> {
        let (name, is) = (self.schedule, |name| self.schedule == name);
        for (flag, given, fits) in [
            ("--milestones", self.milestones.is_some(), is(ScheduleName::Step)),
            ("--gamma", self.gamma.is_some(), is(ScheduleName::Step)),
            ("--warmup", self.warmup.is_some(), !is(ScheduleName::OneCycle)),
        ] {
            ensure!(fits || !given, "{flag}: the schedule {name} has no such setting");
        }
        let (peak, warmup, decay) = match name {
            ScheduleName::Step => {
                let milestones = self.milestones.clone().unwrap_or_else(|| vec![0.5, 0.75]);
                (0.1, 0.0, Decay::Step { milestones, gamma: self.gamma.unwrap_or(0.1) })
            }
            ScheduleName::Cosine => (0.1, 0.05, Decay::Cosine { last: 0.0 }),
            ScheduleName::OneCycle => {
                (0.2, 0.0, Decay::OneCycle { pct_start: 0.3, div: 25.0, final_div: 1e4 })
            }
        };
        let peak = self.lr.unwrap_or(peak);
        not_negative("--lr", peak)?;
        let schedule = Schedule::new(peak, decay).with_warmup(self.warmup.unwrap_or(warmup));
        schedule.validate()?;
        Ok(schedule)
    }

    pub(crate) fn weight_decay(&self) -> Result<f32> {
        let default = if self.schedule == ScheduleName::Step { 1e-4 } else { 5e-4 };
        let weight_decay = self.weight_decay.unwrap_or(default);
        not_negative("--weight-decay", weight_decay)?;
        Ok(weight_decay)
    }
}

pub(crate) fn not_negative(flag: &str, number: impl Into<f64> + fmt::Display + Copy) -> Result<()> {
    let good = number.into().is_finite() && number.into() >= 0.0;
    ensure!(good, "{flag} {number}: must be finite and not negative");
    Ok(())
}
