//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Writes a model saved by train_cifar for other programs.
///
/// As ONNX: images (N, 3, H, W) to logits, the whole gated network with its gater included. Gates
/// multiply by 0 and 1 there, so nothing is skipped.
///
/// With --calibration its pruned subnetwork, a smaller network without gater and gates: filters
/// that no image of the calibration set opens are pruned, the others always run. As safetensors its
/// tensors have PyTorch's names, and evaluate reads the file.
#[derive(Debug, Parser)]
#[command(name = "export", verbatim_doc_comment)]
pub(crate) struct Args {
    /// The model, OUT/model.safetensors of train_cifar
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: PathBuf,

    /// File to write: .onnx, or .safetensors of a pruned subnetwork
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Only the pruned subnetwork, by the first so many training images
    #[arg(long, value_name = "IMAGES")]
    pub(crate) calibration: Option<usize>,

    /// Of the pruned subnetwork: filters that no more than this fraction of the images opens are
    /// pruned too
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, requires = "calibration")]
    pub(crate) min_open: f64,

    /// Folder of the training images, as for train_cifar
    /// [default: none, the built-in set that the model was trained with]
    #[arg(long, value_name = "DIR", requires = "calibration", verbatim_doc_comment)]
    pub(crate) data: Option<PathBuf>,

    /// Of data that has the classes of the model in another order, go by their names
    #[arg(long, requires = "data")]
    pub(crate) classes_by_name: bool,

    /// Leave out image files that cannot be read, and list them
    #[arg(long, requires = "data")]
    pub(crate) skip_bad: bool,

    /// Worker threads [default: one for each core, bound to it]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}
