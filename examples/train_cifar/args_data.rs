//! What it trains on.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Folder that holds cifar-10-batches-bin/ or cifar-100-binary/, or is one of them; or that
    /// holds image files (.jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp) as train/CLASS/* and
    /// val/CLASS/* (or test/CLASS/*)
    /// [default: none, train on the built-in set]
    #[arg(long = "data", value_name = "DIR", verbatim_doc_comment)]
    pub(crate) dir: Option<PathBuf>,

    /// Download CIFAR-10 (162 MiB) into the folder of --data [default folder: data] unless it is
    /// there, and train on it. Only in a program that is built with it:
    /// cargo run --release --features download --example train_cifar -- --download
    #[arg(long, verbatim_doc_comment)]
    pub(crate) download: bool,

    /// Leave out image files that cannot be read, and list them in OUT/skipped.jsonl; without it
    /// they are an error before the first step
    #[arg(long, verbatim_doc_comment)]
    pub(crate) skip_bad: bool,

    /// With --resume, --checkpoint or --backbone-checkpoint, on data whose classes are those of the
    /// model in another order: go by their names
    #[arg(long, verbatim_doc_comment)]
    pub(crate) classes_by_name: bool,

    /// Training images of the built-in set
    #[arg(long, value_name = "IMAGES", default_value_t = 4000, conflicts_with_all = NOT_BUILT_IN)]
    pub(crate) train_images: usize,

    /// Test images of the built-in set
    #[arg(long, value_name = "IMAGES", default_value_t = 1000, conflicts_with_all = NOT_BUILT_IN)]
    pub(crate) test_images: usize,
}

/// Options that choose another set than the built-in one.
const NOT_BUILT_IN: [&str; 2] = ["dir", "download"];

impl DataArgs {
    pub(crate) fn built_in(&self) -> bool {
        self.dir.is_none() && !self.download
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("data"))
    }
}
