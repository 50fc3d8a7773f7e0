//! The gates and the network that decides them.

use gaternet::cli::gate_override;
use gaternet::cli::names::PlacementName;
use gaternet::core::gate::MinActive;
use gaternet::models::{GateOverride, GaterConfig};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Gates and gater")]
pub(crate) struct GaterArgs {
    /// The paper's gates: one for each filter of the last convolution of every block,
    /// decided by a ResNet-20 with Improved SemHash, few of them open. It is the default of all
    /// options that it excludes, but for a run without any option
    #[arg(long, verbatim_doc_comment)]
    #[arg(conflicts_with_all = [
        "dense", "placement", "gate", "filters_per_gate", "min_active", "min_active_fraction", "zero_init", "gater_depth",
        "gater_width", "gater_pool", "estimator", "target_rate", "target_macs", "target_latency", "compare",
    ])]
    pub(crate) paper: bool,

    /// Which filters have gates
    #[arg(long, value_enum, default_value = "block-output", conflicts_with = "dense")]
    pub(crate) placement: PlacementName,

    /// Gate the convolutions whose names match a pattern, or leave them alone, whatever --placement
    /// says: * stands for any characters, and of several that match a name the last counts. May be
    /// given several times; in a file, a table `[gate]` with lines such as `"stage1.*" = "none"`
    #[arg(long, value_name = "PATTERN=on|none", conflicts_with = "dense", verbatim_doc_comment)]
    #[arg(value_parser = gate_override::parse)]
    pub(crate) gate: Vec<GateOverride>,

    /// Consecutive filters that share a gate, one output of the gater
    #[arg(long, alias = "gate-group", value_name = "FILTERS", default_value_t = 1)]
    #[arg(conflicts_with = "dense")]
    pub(crate) filters_per_gate: usize,

    /// Gates that stay open in every layer, for every image: those with the largest outputs of the
    /// gater. Shared gates count as one [default: 0]
    #[arg(long, alias = "min-open", value_name = "GATES", verbatim_doc_comment)]
    #[arg(conflicts_with_all = ["dense", "min_active_fraction"])]
    pub(crate) min_active: Option<usize>,

    /// The same as a fraction of the gates of each layer, rounded up
    #[arg(long, alias = "min-open-share", value_name = "FRACTION", conflicts_with = "dense")]
    pub(crate) min_active_fraction: Option<f32>,

    /// Blocks with gates start as their shortcut, open or closed: the weights of their last batch
    /// norm are 0. For gates that open late, after --freeze-gater and a low --gate-bias
    #[arg(long, conflicts_with_all = ["dense", "backbone_checkpoint"], verbatim_doc_comment)]
    pub(crate) zero_init: bool,

    /// Depth of the ResNet that decides the gates, 6n + 2 layers
    #[arg(long, value_name = "LAYERS", default_value_t = 20, conflicts_with = "dense")]
    pub(crate) gater_depth: usize,

    /// Channels of the gater's ResNet are multiplied by this: below 1 for a cheaper gater
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, conflicts_with = "dense")]
    pub(crate) gater_width: f64,

    /// The gater sees images averaged over squares of this side, 1, 2 or 4: 2 makes it four times
    /// cheaper
    #[arg(long, value_name = "PIXELS", default_value_t = 1, conflicts_with = "dense")]
    pub(crate) gater_pool: usize,

    /// Units between the gater's features and its gates
    #[arg(long, value_name = "UNITS", default_value_t = 8, conflicts_with = "dense")]
    pub(crate) bottleneck: usize,

    /// Where the bias of every gate starts: 0 as in the paper opens half of the gates at first, 2
    /// about 98 %, which a short training on CIFAR needs [default: 2 on CIFAR, 0 on the built-in
    /// set]
    #[arg(long, value_name = "BIAS", allow_negative_numbers = true, verbatim_doc_comment)]
    #[arg(conflicts_with = "dense")]
    pub(crate) gate_bias: Option<f32>,

    /// Batch norm between the two layers from features to gates, as in the paper's text; the
    /// authors' code has none
    #[arg(long, conflicts_with = "dense", verbatim_doc_comment)]
    pub(crate) gater_batch_norm: bool,
}

impl GaterArgs {
    pub(crate) fn min_active(&self) -> MinActive {
        match (self.min_active, self.min_active_fraction) {
            (_, Some(fraction)) => MinActive::Fraction(fraction),
            (gates, None) => MinActive::Gates(gates.unwrap_or(0)),
        }
    }

    pub(crate) fn config(&self, built_in_data: bool) -> GaterConfig {
        GaterConfig {
            depth: self.gater_depth,
            width: self.gater_width,
            pool: self.gater_pool,
            bottleneck: self.bottleneck,
            gate_bias: self.gate_bias.unwrap_or(if built_in_data { 0.0 } else { 2.0 }),
            batch_norm: self.gater_batch_norm,
        }
    }
}
