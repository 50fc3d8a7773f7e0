//! How the gater's output becomes gates, and what the gates are trained for.

use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use gaternet::cli::command_line::write_value;
use gaternet::core::gate::{Estimator, TauSchedule};
use gaternet::models::{GateLoss, GateTerm};

use crate::args_optim::not_negative;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training of the gates")]
pub(crate) struct GateArgs {
    /// How the gater's output becomes gates of 0 and 1 that can be trained
    #[arg(long, value_enum, default_value = "sem-hash", conflicts_with = "dense")]
    estimator: EstimatorName,

    /// With the estimator gumbel-sigmoid: temperature at the start [default: 2/3]
    #[arg(long, value_name = "TAU", conflicts_with = "dense")]
    tau: Option<f64>,

    /// With the estimator gumbel-sigmoid: temperature in the end [default: that of --tau]
    #[arg(long, value_name = "TAU", conflicts_with = "dense")]
    tau_last: Option<f64>,

    /// With the estimator gumbel-sigmoid: fraction of the steps in which the temperature changes
    /// [default: 1]
    #[arg(long, alias = "tau-share", value_name = "FRACTION", conflicts_with = "dense")]
    tau_fraction: Option<f64>,

    /// With the estimator gumbel-sigmoid: gates between 0 and 1 in training
    #[arg(long, conflicts_with = "dense")]
    soft_gates: bool,

    /// With the estimator top-k: fraction of the filters of each layer that are open [default: 0.5]
    #[arg(long, value_name = "FRACTION", conflicts_with = "dense")]
    density: Option<f32>,

    /// Train for this fraction of open gates in every layer, instead of for few open gates
    #[arg(long, value_name = "FRACTION", conflicts_with_all = ["dense", "target_macs", "target_latency"])]
    target_rate: Option<f32>,

    /// Train for this many MACs, gater included, over those of the plain network, instead of for
    /// few open gates: 0.5 is half
    #[arg(long, value_name = "RATIO", conflicts_with_all = ["dense", "target_latency"])]
    #[arg(verbatim_doc_comment)]
    target_macs: Option<f32>,

    /// Train for this time, gater included, over that of the plain network, on this machine: a
    /// calibration of some seconds before the training, kept as OUT/latency.json, predicts it from
    /// how open each layer is
    #[arg(long, value_name = "RATIO", conflicts_with = "dense", verbatim_doc_comment)]
    target_latency: Option<f32>,

    /// With --target-latency: images of a pass whose time counts
    #[arg(long, value_name = "IMAGES", default_value_t = 64, requires = "target_latency")]
    #[arg(conflicts_with_all = ["dense", "target_rate", "target_macs", "lambda"])]
    pub(crate) latency_batch: usize,

    /// Weight of the distance from the target. That of MACs and time is an exact penalty: the
    /// network comes to rest at the target if the weight is more than what the task would pay for
    /// the MACs or time of a whole network [default: with --target-rate 10, with the others 5]
    #[arg(long, value_name = "WEIGHT", conflicts_with = "dense", verbatim_doc_comment)]
    target_weight: Option<f32>,

    /// Weight of the mean gate in the loss, if there is no target: a higher weight closes more
    /// filters [default: 0.1, with the estimator top-k 0]
    #[arg(long, value_name = "WEIGHT", verbatim_doc_comment)]
    #[arg(conflicts_with_all = ["dense", "target_rate", "target_macs", "target_latency", "target_weight"])]
    lambda: Option<f32>,

    /// Weight of one more gate term, for gates that depend on the image: the distance of each
    /// gate's probabilities in a batch from a Beta distribution
    #[arg(long, value_name = "WEIGHT", conflicts_with = "dense", verbatim_doc_comment)]
    batch_shaping: Option<f32>,

    /// With --batch-shaping: the two parameters of the Beta distribution [default: 0.6,0.4]
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "batch_shaping")]
    beta: Option<Vec<f32>>,

    /// With --batch-shaping: fraction of the steps in which its weight falls to 0 [default: 1]
    #[arg(long, alias = "batch-shaping-share", value_name = "FRACTION")]
    #[arg(requires = "batch_shaping")]
    batch_shaping_fraction: Option<f32>,
}

/// An [`Estimator`].
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum EstimatorName {
    /// Improved SemHash, the paper's: noise, and 0 and 1 in half of the images
    SemHash,
    /// 0 and 1 without noise
    StraightThrough,
    /// Binary concrete gates: open with the probability of the sigmoid
    GumbelSigmoid,
    /// A fixed number of filters in each layer
    TopK,
}

impl fmt::Display for EstimatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}

impl GateArgs {
    pub(crate) fn estimator(&self) -> Result<Estimator> {
        let (name, is) = (self.estimator, |name| self.estimator == name);
        let (gumbel, top_k) = (is(EstimatorName::GumbelSigmoid), is(EstimatorName::TopK));
        for (flag, given, fits) in [
            ("--tau", self.tau.is_some(), gumbel),
            ("--tau-last", self.tau_last.is_some(), gumbel),
            ("--tau-fraction", self.tau_fraction.is_some(), gumbel),
            ("--soft-gates", self.soft_gates, gumbel),
            ("--density", self.density.is_some(), top_k),
        ] {
            ensure!(fits || !given, "{flag}: the estimator {name} has no such setting");
        }
        Ok(match name {
            EstimatorName::SemHash => Estimator::SemHash,
            EstimatorName::StraightThrough => Estimator::StraightThrough,
            EstimatorName::GumbelSigmoid => {
                let first = self.tau.unwrap_or(2.0 / 3.0);
                let last = self.tau_last.unwrap_or(first);
                let tau = TauSchedule { first, last, fraction: self.tau_fraction.unwrap_or(1.0) };
                Estimator::GumbelSigmoid { tau, hard: !self.soft_gates }
            }
            EstimatorName::TopK => Estimator::TopK { density: self.density.unwrap_or(0.5) },
        })
    }

    pub(crate) fn losses(&self) -> Result<Vec<GateTerm>> {
        let rate = self.target_rate.map(|target| (GateLoss::TargetRate { target }, 10.0));
        let macs = self.target_macs.map(|target| (GateLoss::TargetMacs { target }, 5.0));
        let latency = self.target_latency.map(|target| (GateLoss::TargetLatency { target }, 5.0));
        let target = rate.or(macs).or(latency);
        let first = match target {
            Some((loss, default)) => {
                let weight = self.target_weight.unwrap_or(default);
                not_negative("--target-weight", weight)?;
                GateTerm::new(loss, weight)
            }
            None => {
                let given = self.target_weight.is_some();
                ensure!(!given, "--target-weight: there is no --target-rate, -macs or -latency");
                let default = if self.estimator == EstimatorName::TopK { 0.0 } else { 0.1 };
                let weight = self.lambda.unwrap_or(default);
                not_negative("--lambda", weight)?;
                GateTerm::new(GateLoss::L1, weight)
            }
        };
        let mut terms = vec![first];
        if let Some(weight) = self.batch_shaping {
            not_negative("--batch-shaping", weight)?;
            let beta = self.beta.as_deref().unwrap_or(&[0.6, 0.4]);
            let [a, b] = *beta else {
                anyhow::bail!("--beta: takes two numbers, as in 0.6,0.4, not {}", beta.len());
            };
            let fades_over = Some(self.batch_shaping_fraction.unwrap_or(1.0));
            terms.push(GateTerm { loss: GateLoss::BatchShaping { a, b }, weight, fades_over });
        }
        Ok(terms)
    }
}
