//! The command line, and the network that it names.

use anyhow::Result;
use clap::Parser;
use gaternet::cli::dtype::DTypeName;
use gaternet::cli::gate_override;
use gaternet::cli::names::{ModelName, PlacementName};
use gaternet::core::nn::Module;
use gaternet::models::{
    BackboneConfig, Family, GateOverride, GatePlacement, GatedConfig, GatedResNet, GaterConfig,
    Model, PlainNet,
};

/// Prints a network's parameters, multiply-accumulates (MACs) for one image and gates, block by
/// block.
///
/// MACs are those of convolutions, linear layers and global pooling with every filter running. With
/// --gated the gater is counted too, on a line of its own.
#[derive(Debug, Parser)]
#[command(name = "describe", args_override_self = true, verbatim_doc_comment)]
pub(crate) struct Args {
    /// Network; imagenet-* are for images of 224x224, the others for 32x32
    #[arg(long, value_enum, default_value = "resnet20")]
    pub(crate) model: ModelName,

    /// Width of the output layer [default: 10, or 1000 of an imagenet-* network]
    #[arg(long, value_name = "N")]
    pub(crate) classes: Option<usize>,

    /// Every number of channels is multiplied by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) width: f64,

    /// Squeeze-and-excitation with reduction 16 in every block
    #[arg(long)]
    pub(crate) se: bool,

    /// With gates and a gater
    #[arg(long)]
    pub(crate) gated: bool,

    /// The plain network, made as wide as it takes to have the parameters of the gated one
    #[arg(long, conflicts_with = "gated")]
    pub(crate) wider: bool,

    /// Which filters have gates
    #[arg(long, value_enum, default_value = "block-output")]
    pub(crate) placement: PlacementName,

    /// Gate the convolutions whose names match a pattern, or leave them alone, whatever --placement
    /// says
    #[arg(long, value_name = "PATTERN=on|none", value_parser = gate_override::parse)]
    pub(crate) gate: Vec<GateOverride>,

    /// Filters that share a gate
    #[arg(long, alias = "gate-group", value_name = "FILTERS", default_value_t = 1)]
    pub(crate) filters_per_gate: usize,

    /// Depth of the gater's ResNet, 6n + 2 layers
    #[arg(long, value_name = "LAYERS", default_value_t = 20)]
    pub(crate) gater_depth: usize,

    /// Channels of the gater's ResNet are multiplied by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) gater_width: f64,

    /// The gater sees images averaged over squares of this side: 1, 2 or 4
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    pub(crate) gater_pool: usize,

    /// Units between the gater's features and its gates
    #[arg(long, value_name = "UNITS", default_value_t = 8)]
    pub(crate) bottleneck: usize,

    /// Also the time of a pass on this machine, predicted from a calibration of some seconds
    #[arg(long)]
    pub(crate) latency: bool,

    /// Densities to predict it at: the fraction of open gates in each layer, 0 to 1
    #[arg(long, value_name = "FRACTION", num_args = 1.., default_values_t = [1.0, 0.75, 0.5, 0.25])]
    #[arg(requires = "latency")]
    pub(crate) density: Vec<f64>,

    /// What the convolutions multiply
    #[arg(long, value_enum, default_value = "f32", requires = "latency")]
    pub(crate) dtype: DTypeName,

    /// Worker threads of the calibration [default: one for each core, bound to it]
    #[arg(long, value_name = "N", requires = "latency")]
    pub(crate) threads: Option<usize>,

    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// The model, and the size of its images.
pub(crate) fn build(args: &Args) -> Result<(Model, [usize; 2])> {
    let (backbone, size) = backbone(args);
    let gater = GaterConfig {
        depth: args.gater_depth,
        width: args.gater_width,
        pool: args.gater_pool,
        bottleneck: args.bottleneck,
        ..GaterConfig::default()
    };
    let placement: GatePlacement = args.placement.into();
    let config = GatedConfig {
        placement,
        gate_overrides: args.gate.clone(),
        filters_per_gate: args.filters_per_gate,
        gater,
        ..GatedConfig::new(backbone)
    };
    if args.gated {
        return Ok((Model::Gated(GatedResNet::new(config, 0)?.into()), size));
    }
    let backbone = match args.wider {
        true => backbone.wider(GatedResNet::new(config, 0)?.parameter_count())?,
        false => backbone,
    };
    Ok((Model::Plain(PlainNet::new(backbone, 0)?.into()), size))
}

/// The network without gates, and the size of its images.
fn backbone(args: &Args) -> (BackboneConfig, [usize; 2]) {
    let config = args.model.config(10);
    let usual = if matches!(config.family, Family::ImagenetResnet { .. }) { 1000 } else { 10 };
    let classes = args.classes.unwrap_or(usual);
    let squeeze_excitation = args.se.then_some(16);
    let config = BackboneConfig { width: args.width, squeeze_excitation, classes, ..config };
    (config, config.image_size())
}
