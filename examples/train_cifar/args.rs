//! The command line. Each file `args_*.rs` has one topic: its options, and how they become settings of the
//! library.

use std::path::PathBuf;

use clap::Parser;

use crate::args_augment::AugmentArgs;
use crate::args_backbone::BackboneArgs;
use crate::args_data::DataArgs;
use crate::args_gater::GaterArgs;
use crate::args_gater_training::GaterTrainingArgs;
use crate::args_gates::GateArgs;
use crate::args_optim::OptimArgs;
use crate::args_run::RunArgs;
use crate::names::PlacementName;

/// Trains a gated network, or the plain one with the same recipe (--dense), on CIFAR-10, CIFAR-100,
/// image files or a built-in set of drawn shapes that needs no download.
///
/// Writes OUT/metrics.jsonl (one object per epoch) and OUT/model.safetensors (after every epoch), and
/// while it runs OUT/state.safetensors, from which --resume goes on. Pre-training the gater writes
/// OUT/pretraining.jsonl and OUT/gater.safetensors.
/// In metrics.jsonl, accuracies and densities are shares of 1; train_loss includes the gate terms;
/// gate_density and macs_ratio (executed MACs, gater included, over those of the plain model) are of
/// the test set; images_per_second counts training only, seconds the whole epoch with its
/// evaluation; learning_rate is that of the epoch's last step.
#[derive(Debug, Clone, Parser)]
#[command(name = "train_cifar", args_override_self = true, verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) backbone: BackboneArgs,
    #[command(flatten)]
    pub(crate) gater: GaterArgs,
    #[command(flatten)]
    pub(crate) gates: GateArgs,
    #[command(flatten)]
    pub(crate) gater_training: GaterTrainingArgs,
    #[command(flatten)]
    pub(crate) optim: OptimArgs,
    #[command(flatten)]
    pub(crate) augment: AugmentArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

impl Args {
    /// The folder of the results; of all seeds with `--repeat`.
    pub(crate) fn out_dir(&self) -> PathBuf {
        self.run.out.clone().unwrap_or_else(|| {
            let kind = match self.gater.placement {
                _ if self.backbone.dense => "-dense".to_owned(),
                PlacementName::ResidualOutput => String::new(),
                placement => format!("-{placement}"),
            };
            let seed = match self.run.repeat {
                Some(_) => String::new(),
                None => format!("-seed{}", self.run.seed),
            };
            format!("runs/{}{kind}{seed}", self.backbone.model).into()
        })
    }
}
