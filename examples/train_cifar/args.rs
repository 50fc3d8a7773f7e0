//! The command line, and the TOML file that may fill it in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser, ValueEnum};
use toml::{Table, Value};

use crate::names::{ModelName, PlacementName, name_of};

/// Trains a gated ResNet, or the plain one with the same recipe (--dense), on CIFAR-10, CIFAR-100 or
/// a built-in set of drawn shapes that needs no download.
///
/// Writes OUT/metrics.jsonl (one object per epoch) and OUT/model.safetensors (after every epoch).
/// In metrics.jsonl, accuracies and densities are shares of 1; train_loss includes the gate term;
/// gate_density and macs_ratio (executed MACs, gater included, over those of the plain model) are of
/// the test set; images_per_second counts training only, seconds the whole epoch with its
/// evaluation; learning_rate is that of the epoch's last step.
#[derive(Debug, Parser)]
#[command(name = "train_cifar", args_override_self = true, verbatim_doc_comment)]
pub(crate) struct Args {
    /// Folder that holds cifar-10-batches-bin/ or cifar-100-binary/, or is one of them
    /// [default: none, train on the built-in set]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) data: Option<PathBuf>,

    /// Download CIFAR-10 (162 MiB) into the folder of --data [default folder: data] unless it is
    /// there, and train on it
    #[arg(long, verbatim_doc_comment)]
    pub(crate) download: bool,

    /// Backbone
    #[arg(long, value_enum, default_value = "resnet20")]
    pub(crate) model: ModelName,

    /// Every number of channels of the backbone is multiplied by this; `describe --wider` prints the width
    /// that has the parameters of a gated model
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, verbatim_doc_comment)]
    pub(crate) width: f64,

    /// Squeeze-and-excitation with reduction 16 in every residual unit of the backbone
    #[arg(long)]
    pub(crate) se: bool,

    /// Train the plain backbone, without gater and gates
    #[arg(long)]
    pub(crate) dense: bool,

    /// Which filters have gates
    #[arg(long, value_enum, default_value = "residual-output")]
    pub(crate) placement: PlacementName,

    /// Depth of the ResNet that decides the gates, 6n + 2 layers
    #[arg(long, value_name = "LAYERS", default_value_t = 20)]
    pub(crate) gater_depth: usize,

    /// Channels of the gater's ResNet are multiplied by this: below 1 for a cheaper gater
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) gater_width: f64,

    /// The gater sees images averaged over squares of this side, 1, 2 or 4: 2 makes it four times cheaper
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    pub(crate) gater_pool: usize,

    /// Units between the gater's features and its gates
    #[arg(long, value_name = "UNITS", default_value_t = 8)]
    pub(crate) bottleneck: usize,

    /// Where the bias of every gate starts: 0 as in the paper opens half of the gates at first, 2
    /// about 98 %, which a short training on CIFAR needs [default: 2 on CIFAR, 0 on the built-in set]
    #[arg(long, value_name = "BIAS", allow_negative_numbers = true, verbatim_doc_comment)]
    pub(crate) gate_bias: Option<f32>,

    /// Weight of the gate term of the loss, the mean gate: higher closes more filters
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.1)]
    pub(crate) lambda: f32,

    /// Passes over the training images [default: 15 on CIFAR, 5 on the built-in set]
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,

    /// Images per training step
    #[arg(long, value_name = "IMAGES", default_value_t = 128)]
    pub(crate) batch_size: usize,

    /// Highest learning rate [default: 0.2 with one-cycle, else 0.1]
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,

    /// L2 penalty of every parameter [default: 1e-4 with step, else 5e-4]
    #[arg(long, value_name = "FACTOR")]
    pub(crate) weight_decay: Option<f32>,

    /// Share of the target that all classes get alike, 0 to 1: 0.1 is usual
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) label_smoothing: f32,

    /// Training images are shifted by up to this many pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 4)]
    pub(crate) crop_padding: usize,

    /// What comes in from the border of a shifted image
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) padding_mode: PaddingName,

    /// How the learning rate changes from step to step
    #[arg(long, value_enum, default_value = "one-cycle")]
    pub(crate) schedule: ScheduleName,

    /// Decides weights, order, augmentation, gate noise and the built-in images
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Worker threads [default: one for each core, bound to it]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Folder for the results [default: runs/MODEL-seedSEED; after MODEL, -dense or a placement other
    /// than the default]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) out: Option<PathBuf>,

    /// Replace the results that the folder of --out holds
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Training images of the built-in set
    #[arg(long, value_name = "IMAGES", default_value_t = 4000, conflicts_with_all = NOT_BUILT_IN)]
    pub(crate) train_images: usize,

    /// Test images of the built-in set
    #[arg(long, value_name = "IMAGES", default_value_t = 1000, conflicts_with_all = NOT_BUILT_IN)]
    pub(crate) test_images: usize,

    /// TOML file of these options without the dashes, such as `batch-size = 64`; an option on the
    /// command line wins
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) config: Option<PathBuf>,
}

/// Options that choose another set than the built-in one.
const NOT_BUILT_IN: [&str; 2] = ["data", "download"];

/// A family of learning rates.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum ScheduleName {
    /// A tenth after 1/2 and after 3/4 of the steps, the paper's
    Step,
    /// Up over the first 1/20 of the steps, then half a cosine down to 0
    Cosine,
    /// Up over the first 3/10 of the steps, then down to almost 0: for few epochs
    OneCycle,
}

/// What lies beyond the border of an image.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PaddingName {
    /// Black
    Constant,
    /// The image itself, mirrored
    Reflect,
}

impl fmt::Display for PaddingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_of(self, f)
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_of(self, f)
    }
}

impl Args {
    /// The command line; options that it lacks come from the file of `--config`.
    pub(crate) fn parse_with_config_file() -> Result<Args> {
        let args = Args::parse();
        let Some(path) = &args.config else { return Ok(args) };
        let context = || format!("cannot use the configuration {}", path.display());
        let from_file = options_of_file(path).with_context(context)?;
        let program = || std::env::args_os().take(1);
        // Alone first: a bad value is then the file's.
        Args::try_parse_from(program().chain(from_file.clone())).with_context(context)?;
        Ok(Args::parse_from(program().chain(from_file).chain(std::env::args_os().skip(1))))
    }

    pub(crate) fn uses_built_in(&self) -> bool {
        self.data.is_none() && !self.download
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("data"))
    }

    pub(crate) fn out_dir(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let kind = match self.placement {
                _ if self.dense => "-dense".to_owned(),
                PlacementName::ResidualOutput => String::new(),
                placement => format!("-{placement}"),
            };
            format!("runs/{}{kind}-seed{}", self.model, self.seed).into()
        })
    }
}

/// The keys of a TOML file as options of the command line.
fn options_of_file(path: &Path) -> Result<Vec<OsString>> {
    let table: Table = fs::read_to_string(path)?.parse()?;
    let command = Args::command();
    let known = || command.get_arguments().filter(|arg| arg.get_id() != "config");
    let mut options = Vec::new();
    for (key, value) in &table {
        let Some(arg) = known().find(|arg| arg.get_long() == Some(key)) else {
            let names: Vec<_> = known().filter_map(|arg| arg.get_long()).collect();
            bail!("unknown key `{key}`; the keys are {}", names.join(", "));
        };
        match (value, arg.get_action().takes_values()) {
            (Value::Boolean(true), false) => options.push(format!("--{key}").into()),
            (Value::Boolean(false), false) => {}
            (Value::String(text), true) => options.push(format!("--{key}={text}").into()),
            (Value::Integer(_) | Value::Float(_), true) => {
                options.push(format!("--{key}={value}").into());
            }
            (_, true) => bail!("`{key} = {value}`: expected a number or a string"),
            (_, false) => bail!("`{key} = {value}`: expected true or false"),
        }
    }
    Ok(options)
}
