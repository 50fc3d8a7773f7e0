//! The command line. Each file `args_*.rs` has one topic: its options, and how they become settings
//! of the library.

use std::path::{Path, PathBuf};

use clap::Parser;
use gaternet::cli::names::PlacementName;
use gaternet::models::train::RunFolder;

use crate::args_augment::AugmentArgs;
use crate::args_backbone::BackboneArgs;
use crate::args_data::DataArgs;
use crate::args_gater::GaterArgs;
use crate::args_gater_training::GaterTrainingArgs;
use crate::args_gates::GateArgs;
use crate::args_optim::OptimArgs;
use crate::args_run::RunArgs;

/// Trains a gated network, or the plain one with the same recipe (--dense), on CIFAR-10, CIFAR-100,
/// image files or a built-in set of drawn shapes that needs no download.
///
/// Without options it trains, on the built-in set, a network whose gates leave out most of its
/// work, and the plain network beside it, and compares them (recipes/first-run.toml).
///
/// Writes OUT/metrics.jsonl (one object per epoch) and OUT/model.safetensors (after every epoch),
/// and while it runs OUT/state.safetensors, from which --resume goes on. Ctrl-C and SIGTERM save
/// the state after the step that runs. Pre-training the gater writes OUT/pretraining.jsonl and
/// OUT/gater.safetensors. In metrics.jsonl, accuracies and densities are fractions of 1; train_loss
/// includes the gate terms; gate_density and macs_ratio (executed MACs, gater included, over those
/// of the plain model) are of the test set; images_per_second counts training only, seconds the
/// whole epoch with its evaluation; learning_rate is that of the epoch's last step.
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
    /// The folder of the results; of all seeds with `--repeat`. Without --out it is one that holds
    /// no results yet, unless they are to be replaced.
    pub(crate) fn out_dir(&self) -> PathBuf {
        match &self.run.out {
            Some(out) => out.clone(),
            None if self.run.overwrite => numbered(&self.default_out_dir(), 1),
            None => {
                let free = |dir: &PathBuf| !RunFolder::new(dir).is_taken();
                let default = self.default_out_dir();
                let mut candidates = (1..).map(|number| numbered(&default, number));
                candidates.find(free).unwrap_or(default)
            }
        }
    }

    /// The folder of the results of an earlier run: without --out the last one of its name.
    pub(crate) fn existing_out_dir(&self) -> PathBuf {
        let default = self.default_out_dir();
        self.run.out.clone().unwrap_or_else(|| {
            let taken = |dir: &PathBuf| RunFolder::new(dir).is_taken();
            let earlier = (1..).map(|number| numbered(&default, number)).take_while(taken);
            earlier.last().unwrap_or(default)
        })
    }

    fn default_out_dir(&self) -> PathBuf {
        let kind = match self.gater.placement {
            _ if self.backbone.dense => "-dense".to_owned(),
            PlacementName::BlockOutput => String::new(),
            placement => format!("-{placement}"),
        };
        let seed = match self.run.repeat {
            Some(_) => String::new(),
            None => format!("-seed{}", self.run.seed),
        };
        format!("runs/{}{kind}{seed}", self.backbone.model).into()
    }
}

/// `runs/a`, `runs/a-2`, `runs/a-3` for the numbers from 1.
fn numbered(dir: &Path, number: usize) -> PathBuf {
    match number {
        0 | 1 => dir.to_path_buf(),
        number => format!("{}-{number}", dir.display()).into(),
    }
}
