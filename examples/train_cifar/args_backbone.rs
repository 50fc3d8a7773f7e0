//! The network that is gated, or trained alone.

use std::path::PathBuf;

use gaternet::cli::names::ModelName;
use gaternet::models::BackboneConfig;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Backbone")]
pub(crate) struct BackboneArgs {
    /// Backbone
    #[arg(long, value_enum, default_value = "resnet20")]
    pub(crate) model: ModelName,

    /// Every number of channels of the backbone is multiplied by this; `describe --wider` prints
    /// the width that has the parameters of a gated model
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, verbatim_doc_comment)]
    pub(crate) width: f64,

    /// Squeeze-and-excitation with reduction 16 in every block of the backbone
    #[arg(long)]
    pub(crate) se: bool,

    /// Train the plain backbone, without gater and gates
    #[arg(long)]
    pub(crate) dense: bool,

    /// Start from the backbone in this file, OUT/model.safetensors of a run with --dense
    #[arg(long, value_name = "FILE")]
    pub(crate) backbone_checkpoint: Option<PathBuf>,

    /// Start from the whole model in this file, OUT/model.safetensors of a run with the same
    /// network and gates
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    #[arg(conflicts_with_all = ["backbone_checkpoint", "gater_checkpoint", "pretrain_gater"])]
    pub(crate) checkpoint: Option<PathBuf>,

    /// With --checkpoint or --backbone-checkpoint: all but the output layer, which is drawn anew
    /// for the classes of the data
    #[arg(long, verbatim_doc_comment)]
    pub(crate) new_head: bool,
}

impl BackboneArgs {
    /// For one class.
    pub(crate) fn config(&self) -> BackboneConfig {
        let squeeze_excitation = self.se.then_some(16);
        BackboneConfig { width: self.width, squeeze_excitation, ..self.model.config(1) }
    }
}
