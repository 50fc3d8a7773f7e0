//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};
use gaternet::cli::device::DeviceName;
use gaternet::cli::dtype::DTypeName;

/// Measures a model saved by train_cifar on a test set: accuracy, cross-entropy, open gates, MACs
/// per image with and without gating, images per second.
///
/// --budget moves the threshold of all gates, without training, so that the images of a part of the
/// training set keep to a budget. --sweep evaluates the model at budgets from all gates closed to
/// all open.
#[derive(Debug, Parser)]
#[command(name = "evaluate", verbatim_doc_comment)]
#[command(group = ArgGroup::new("thresholds").args(["budget", "sweep"]))]
pub(crate) struct Args {
    /// The model, OUT/model.safetensors of train_cifar
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: PathBuf,

    /// Folder that holds cifar-10-batches-bin/ or cifar-100-binary/, or is one of them; or that
    /// holds image files (.jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp) as train/CLASS/* and
    /// val/CLASS/* (or test/CLASS/*), of which train/ is needed for --budget and --sweep only
    /// [default: none, the built-in test set that the model was trained with]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) data: Option<PathBuf>,

    /// Of data that has the classes of the model in another order, go by their names
    #[arg(long)]
    pub(crate) classes_by_name: bool,

    /// Leave out image files that cannot be read, and list them
    #[arg(long, requires = "data")]
    pub(crate) skip_bad: bool,

    /// Pixels of the middle of an image that the model sees [default: those it was trained with]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) image_size: Option<usize>,

    /// Pixels of the shorter side of an image before its middle is cut out
    /// [default: as trained; 8/7 of --image-size if that is given]
    #[arg(long, value_name = "PIXELS", verbatim_doc_comment)]
    pub(crate) resize: Option<usize>,

    /// Print one JSON object instead of a table; fractions are of 1, MACs are counts per image
    #[arg(long, conflicts_with = "sweep")]
    pub(crate) json: bool,

    /// Also accuracy and MACs of the images of each class
    #[arg(long, conflicts_with = "sweep")]
    pub(crate) per_class: bool,

    /// Also what the model says of each image, a JSON object a line: its file or number, the names
    /// of its class and of the predicted one, and the MACs that ran
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "sweep")]
    pub(crate) predictions: Option<PathBuf>,

    /// Gates as open as a budget allows: MACs of an image over those of the plain backbone, gater
    /// included
    #[arg(long, value_name = "FRACTION")]
    pub(crate) budget: Option<f64>,

    /// Write the model with the gates of --budget
    #[arg(long, value_name = "FILE", requires = "budget")]
    pub(crate) save: Option<PathBuf>,

    /// Accuracy, MACs and images/s at budgets from all gates closed to all open, a JSON object a
    /// line; plot_sweep draws them
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) sweep: Option<PathBuf>,

    /// Training images by which thresholds are chosen, the first of the set
    #[arg(long, value_name = "IMAGES", default_value_t = 2000, requires = "thresholds")]
    pub(crate) calibration: usize,

    /// Images per pass; changes speed and memory, not the results
    #[arg(long, value_name = "IMAGES", default_value_t = 128)]
    pub(crate) batch_size: usize,

    /// What the convolutions multiply
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: DTypeName,

    /// Where the model runs: cpu; cuda or cuda:NUMBER, an NVIDIA GPU; or best, a GPU if there is
    /// one. On a GPU, bf16 has tensor cores, and f32 is for comparisons
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceName::Cpu)]
    pub(crate) device: DeviceName,

    /// Worker threads [default: one for each core, bound to it]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}
