//! The configuration of a gated network and of the training of its gates, which every checkpoint
//! stores.

use gaternet_core::gate::{Estimator, MinActive};
use gaternet_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::gating::gate_loss::GateLoss;
use crate::gating::gate_override::GateOverride;
use crate::gating::gate_plan::GatePlacement;
use crate::gating::gate_term::GateTerm;
use crate::networks::config::{BackboneConfig, bounded, is_one, one};

/// The configuration of a gater: a CIFAR ResNet without its output layer, and two linear layers
/// from its features to the gates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaterConfig {
    /// Depth of the feature extractor, 6n + 2.
    pub depth: usize,
    /// Channels of the feature extractor relative to a ResNet's: below 1 for a cheaper gater.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub width: f64,
    /// Side of the squares over which the images are averaged first: 2 makes the extractor four
    /// times cheaper.
    #[serde(default = "one_pixel")]
    pub pool: usize,
    /// Width b of the bottleneck between features and gates.
    pub bottleneck: usize,
    /// Initial bias of every gate. At 0, as in the paper, half of the gates are open at first; at
    /// 2, about 98 % are, and a short training loses less to the noise of gates that have not
    /// learned anything yet.
    #[serde(default)]
    pub gate_bias: f32,
    /// Whether batch norm is between the two linear layers, as in the paper's text; the authors'
    /// code has none, and neither has the default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub batch_norm: bool,
}

impl Default for GaterConfig {
    /// The authors' gater: a ResNet-20 and a bottleneck of 8.
    fn default() -> GaterConfig {
        GaterConfig {
            depth: 20,
            width: 1.0,
            pool: 1,
            bottleneck: 8,
            gate_bias: 0.0,
            batch_norm: false,
        }
    }
}

impl GaterConfig {
    /// Configuration of the feature extractor E, without its output layer.
    pub(crate) fn extractor(&self) -> BackboneConfig {
        BackboneConfig { width: self.width, ..BackboneConfig::resnet(self.depth, 1) }
    }

    /// # Errors
    /// [`Error::Config`] that names the first field out of range and its rule.
    pub fn validate(&self) -> Result<()> {
        // Errors name the gater's fields, because the backbone has a depth and a width too.
        let of_gater = |error| match error {
            Error::Config { field: "depth", value, rule } => {
                Error::Config { field: "gater.depth", value, rule }
            }
            Error::Config { field: "width", value, rule } => {
                Error::Config { field: "gater.width", value, rule }
            }
            other => other,
        };
        self.extractor().validate().map_err(of_gater)?;
        if ![1, 2, 4].contains(&self.pool) {
            let (value, rule) = (self.pool.to_string(), "must be 1, 2 or 4");
            return Err(Error::Config { field: "gater.pool", value, rule });
        }
        bounded("gater.bottleneck", self.bottleneck)?;
        if !self.gate_bias.is_finite() {
            let value = self.gate_bias.to_string();
            return Err(Error::Config { field: "gater.gate_bias", value, rule: "must be finite" });
        }
        Ok(())
    }
}

/// The configuration of a gated network: a backbone whose filters a gater switches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedConfig {
    /// The network that is gated.
    pub backbone: BackboneConfig,
    /// Placement of the gates; the paper's where a file does not say.
    #[serde(default)]
    pub placement: GatePlacement,
    /// Convolutions that are gated, or not, whatever the placement; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate_overrides: Vec<GateOverride>,
    /// Consecutive filters that share a gate; fewer at the end of a layer whose width is no
    /// multiple. 1 by default, as in the paper.
    #[serde(alias = "group", default = "one_filter", skip_serializing_if = "is_one_filter")]
    pub filters_per_gate: usize,
    /// Min-active: how many gates stay open in every layer; none by default.
    #[serde(alias = "floor", default, skip_serializing_if = "is_default")]
    pub min_active: MinActive,
    /// Whether the weights of the last batch norm of every block with gates start at 0: until it
    /// has learnt something the block is its shortcut, whatever its gates, so that gates which open
    /// late disturb nothing. Goyal et al. 2017 (arXiv 1706.02677) start all blocks of a plain
    /// network so. Not by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub zero_init: bool,
    /// The network that decides the gates.
    pub gater: GaterConfig,
    /// The estimator, which makes gates of the gater's output; the paper's Improved SemHash by
    /// default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub estimator: Estimator,
    /// Terms that training adds to the loss of the task; 0.1 times the paper's L1 loss by default.
    /// The paper's formula has a weight but gives no value for it.
    #[serde(default = "paper_losses", skip_serializing_if = "is_paper_losses")]
    pub gate_losses: Vec<GateTerm>,
}

impl GatedConfig {
    /// The paper's model on a CIFAR ResNet-`depth`.
    #[must_use]
    pub fn cifar(depth: usize, classes: usize) -> GatedConfig {
        GatedConfig::new(BackboneConfig::resnet(depth, classes))
    }

    /// The paper's model: gates on the last convolutions of blocks, the authors' gater, Improved
    /// SemHash, L1.
    #[must_use]
    pub fn new(backbone: BackboneConfig) -> GatedConfig {
        GatedConfig {
            backbone,
            placement: GatePlacement::BlockOutput,
            gate_overrides: Vec::new(),
            filters_per_gate: 1,
            min_active: MinActive::default(),
            zero_init: false,
            gater: GaterConfig::default(),
            estimator: Estimator::default(),
            gate_losses: paper_losses(),
        }
    }

    /// # Errors
    /// [`Error::Config`] that names the first field out of range and its rule, or a loss with a
    /// target beside an estimator that opens a fixed number of gates.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate()?;
        self.validate_gates()
    }

    /// Checks all but the backbone, as [`validate`](Self::validate) does.
    pub(crate) fn validate_gates(&self) -> Result<()> {
        self.gater.validate()?;
        bounded("filters_per_gate", self.filters_per_gate)?;
        self.gate_overrides.iter().try_for_each(GateOverride::validate)?;
        self.min_active.validate()?;
        self.estimator.validate()?;
        if let (Estimator::TopK { .. }, false) = (self.estimator, self.min_active.is_none()) {
            return Err(Error::Config {
                field: "min_active",
                value: format!("{:?} with the estimator {:?}", self.min_active, self.estimator),
                rule: "this estimator opens a fixed number of gates in every layer: set its \
                       density instead",
            });
        }
        self.gate_losses.iter().try_for_each(GateTerm::validate)?;
        let mut terms = self.gate_losses.iter();
        let target = terms.find(|term| term.weight > 0.0 && term.loss.has_target());
        match (self.estimator, target) {
            (Estimator::TopK { .. }, Some(term)) => Err(Error::Config {
                field: "gate_losses",
                value: format!("{:?} with the estimator {:?}", term.loss, self.estimator),
                rule: "no loss changes how many gates this estimator opens: set its density, or \
                       take another",
            }),
            _ => Ok(()),
        }
    }
}

fn paper_losses() -> Vec<GateTerm> {
    vec![GateTerm::new(GateLoss::L1, 0.1)]
}

fn is_paper_losses(losses: &[GateTerm]) -> bool {
    losses == paper_losses()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_false(value: &bool) -> bool {
    !value
}

fn one_pixel() -> usize {
    1
}

fn one_filter() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_one_filter(value: &usize) -> bool {
    *value == 1
}

#[cfg(test)]
mod tests {
    use gaternet_core::gate::TauSchedule;

    use super::*;

    #[test]
    fn a_bad_field_is_named() {
        let of_gater = |gater| {
            let config = GatedConfig { gater, ..GatedConfig::cifar(20, 10) };
            config.validate().expect_err("out of range").to_string()
        };
        let gater = GaterConfig::default();
        let text = of_gater(GaterConfig { bottleneck: 1 << 40, ..gater });
        assert!(text.contains("gater.bottleneck = 1099511627776"), "{text}");
        let text = of_gater(GaterConfig { depth: 19, ..gater });
        assert!(text.contains("gater.depth = 19 (the nearest are 14 and 20)"), "{text}");
        assert!(of_gater(GaterConfig { pool: 3, ..gater }).contains("gater.pool = 3"));
    }

    #[test]
    fn a_bad_estimator_or_loss_is_named() {
        let good = GatedConfig::cifar(20, 10);
        let error = |config: GatedConfig| config.validate().expect_err("out of range").to_string();
        let estimator = Estimator::TopK { density: 0.0 };
        assert!(error(GatedConfig { estimator, ..good.clone() }).contains("density = 0"));
        let tau = TauSchedule::constant(-1.0);
        let estimator = Estimator::GumbelSigmoid { tau, hard: true };
        assert!(error(GatedConfig { estimator, ..good.clone() }).contains("tau.first = -1"));
        let losses = |loss, weight| GatedConfig {
            gate_losses: vec![GateTerm::new(GateLoss::L1, 0.1), GateTerm::new(loss, weight)],
            ..good.clone()
        };
        let text = error(losses(GateLoss::TargetMacs { target: -0.5 }, 1.0));
        assert!(text.contains("target_macs = -0.5"), "{text}");
        let estimator = Estimator::TopK { density: 0.25 };
        for loss in [GateLoss::TargetRate { target: 0.5 }, GateLoss::TargetMacs { target: 0.5 }] {
            let text = error(GatedConfig { estimator, ..losses(loss, 1.0) });
            assert!(text.contains(&format!("{loss:?} with the estimator TopK")), "{text}");
            GatedConfig { estimator, ..losses(loss, 0.0) }.validate().expect("it does not count");
        }
        let min_active = MinActive::Gates(1);
        let text = error(GatedConfig { estimator, min_active, ..good.clone() });
        assert!(text.contains("min_active = Gates(1) with the estimator TopK"), "{text}");
        let text = error(GatedConfig { min_active: MinActive::Fraction(1.3), ..good.clone() });
        assert!(text.contains("min_active.fraction = 1.3"), "{text}");
        assert!(
            error(GatedConfig { filters_per_gate: 0, ..good.clone() })
                .contains("filters_per_gate = 0")
        );
        let shaping = GateLoss::BatchShaping { a: 0.6, b: 0.4 };
        GatedConfig { estimator, ..losses(shaping, 1.0) }.validate().expect("which ones are open");
        let text = error(losses(GateLoss::L1, f32::NAN));
        assert!(text.contains("gate loss weight = NaN"), "{text}");
    }

    #[test]
    fn a_file_that_does_not_say_has_the_papers_gates() {
        let paper = GatedConfig::cifar(20, 10);
        let json = serde_json::to_string(&paper).expect("plain data");
        for field in ["estimator", "batch_norm", "filters_per_gate", "min_active", "overrides"] {
            assert!(!json.contains(field), "{json}");
        }
        assert_eq!(serde_json::from_str::<GatedConfig>(&json).expect(&json), paper);
        let other = GatedConfig {
            estimator: Estimator::StraightThrough,
            gate_losses: vec![GateTerm::new(GateLoss::TargetMacs { target: 0.5 }, 5.0)],
            gater: GaterConfig { batch_norm: true, ..GaterConfig::default() },
            filters_per_gate: 8,
            min_active: MinActive::Fraction(0.1),
            gate_overrides: vec![GateOverride { convs: "stage1.*".to_owned(), gated: false }],
            ..paper
        };
        let json = serde_json::to_string(&other).expect("plain data");
        assert_eq!(serde_json::from_str::<GatedConfig>(&json).expect(&json), other);
    }
}
