//! How the gater is trained, where not as the backbone.

use std::path::PathBuf;

use gaternet::models::WarmUp;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training of the gater")]
pub(crate) struct GaterTrainingArgs {
    /// Train the gater's ResNet as a classifier for this many epochs first, as in the paper. It has
    /// the schedule and the augmentation of the rest, and averages (--ema) start after it
    #[arg(long, value_name = "EPOCHS", default_value_t = 0, verbatim_doc_comment)]
    #[arg(conflicts_with_all = ["dense", "gater_checkpoint"])]
    pub(crate) pretrain_gater: usize,

    /// Start from the gater in this file. Of a gated model, OUT/model.safetensors, it takes the
    /// whole gater; of OUT/gater.safetensors, or a plain ResNet of the gater's depth and width, all
    /// but the layers from features to gates
    #[arg(long, value_name = "FILE", conflicts_with = "dense", verbatim_doc_comment)]
    pub(crate) gater_checkpoint: Option<PathBuf>,

    /// Highest learning rate of the gater [default: that of --lr]
    #[arg(long, value_name = "RATE", conflicts_with = "dense")]
    pub(crate) gater_lr: Option<f64>,

    /// L2 penalty of the gater's parameters [default: that of --weight-decay]
    #[arg(long, value_name = "FACTOR", conflicts_with = "dense")]
    pub(crate) gater_weight_decay: Option<f32>,

    /// In the first epochs all gates are open: the gater does not run, and metrics are the
    /// backbone's
    #[arg(long, value_name = "EPOCHS", default_value_t = 0, conflicts_with = "dense")]
    pub(crate) open_epochs: usize,

    /// The backbone is frozen in the first epochs; its batch norm statistics still move
    #[arg(long, value_name = "EPOCHS", default_value_t = 0, conflicts_with = "dense")]
    pub(crate) freeze_backbone: usize,

    /// The gater is frozen in the first epochs; its batch norm statistics still move
    #[arg(long, value_name = "EPOCHS", default_value_t = 0, conflicts_with = "dense")]
    pub(crate) freeze_gater: usize,

    /// The gater's ResNet is frozen in the first epochs, not the layers from its features to the
    /// gates
    #[arg(long, value_name = "EPOCHS", default_value_t = 0, conflicts_with = "dense")]
    pub(crate) freeze_extractor: usize,
}

impl GaterTrainingArgs {
    pub(crate) fn warm_up(&self) -> WarmUp {
        WarmUp {
            open_epochs: self.open_epochs,
            frozen_backbone: self.freeze_backbone,
            frozen_gater: self.freeze_gater,
            frozen_extractor: self.freeze_extractor,
        }
    }
}
