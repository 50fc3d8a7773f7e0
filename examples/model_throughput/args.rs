//! The command line.

use clap::Parser;
use gaternet::cli::dtype::DTypeName;
use gaternet::cli::names::{ModelName, PlacementName};
use gaternet::cli::throughput_network::Gating;
use gaternet::models::{GatedConfig, GaterConfig};

/// Measures whole networks (imagenet-* on 224x224 images, the others on 32x32): the plain backbone,
/// and the gated network with its closed filters computed (masked) or not (skipped).
///
/// All run as inference plans; images are noise and weights random. The gater runs and its time
/// counts, but the gates are drawn, each open with the given probability (the density), anew for
/// every image. Times are medians of 9 runs. macs_ratio is the MACs of an image over those of the
/// plain backbone, gater included; rows without gates have density 1 and placement none.
#[derive(Debug, Parser)]
#[command(name = "model_throughput", verbatim_doc_comment)]
pub(crate) struct Args {
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// Backbones
    #[arg(long, value_enum, num_args = 1.., default_value = "resnet110")]
    pub(crate) model: Vec<ModelName>,

    /// Ways to run each network
    #[arg(long, value_enum, num_args = 1.., default_values = ["dense", "masked", "skipped"])]
    pub(crate) gating: Vec<Gating>,

    /// Which filters have gates
    #[arg(long, value_enum, num_args = 1.., default_value = "all")]
    pub(crate) placement: Vec<PlacementName>,

    /// Filters that share a gate
    #[arg(long, alias = "gate-group", value_name = "FILTERS", default_value_t = 1)]
    pub(crate) filters_per_gate: usize,

    /// Depth of the ResNet that decides the gates, 6n + 2 layers
    #[arg(long, value_name = "LAYERS", default_value_t = 20)]
    pub(crate) gater_depth: usize,

    /// The gater sees images averaged over squares of this side, 1, 2 or 4
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    pub(crate) gater_pool: usize,

    /// Probabilities of a gate to be open, 0 to 1
    #[arg(long, value_name = "FRACTION", num_args = 1.., default_values_t = [0.5])]
    pub(crate) density: Vec<f64>,

    /// Images of a pass
    #[arg(long, value_name = "IMAGES", num_args = 1.., default_values_t = [1, 64])]
    pub(crate) batch: Vec<usize>,

    /// What the convolutions multiply
    #[arg(long, value_enum, num_args = 1.., default_value = "f32")]
    pub(crate) dtype: Vec<DTypeName>,

    /// Worker threads [default: one for each core]; if there are as many as cores, each is bound to
    /// one
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Duration of a run, about; it is at least one pass over 64 images
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 200)]
    pub(crate) run: u64,
}

impl Args {
    /// The network of a backbone with these gates.
    pub(crate) fn gated_config(&self, model: ModelName, placement: PlacementName) -> GatedConfig {
        let config = GatedConfig::new(model.config(10));
        let gater = GaterConfig { depth: self.gater_depth, pool: self.gater_pool, ..config.gater };
        GatedConfig {
            placement: placement.into(),
            filters_per_gate: self.filters_per_gate,
            gater,
            ..config
        }
    }
}
