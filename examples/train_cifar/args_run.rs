//! Seeds, threads, files.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use gaternet::cli::device::DeviceName;
use gaternet::cli::dtype::DTypeName;
use gaternet::kernels::Device;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunArgs {
    /// TOML file of these options without the dashes, such as `batch-size = 64`; an option on the
    /// command line wins over it and over what contradicts it there. The folder recipes/ has some
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) config: Option<PathBuf>,

    /// Decides weights, order, augmentation, gate noise and the built-in images
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Run this many seeds, from that of --seed on, each in a folder OUT/seedN, and print the mean
    /// and the standard deviation; they are also in OUT/summary.json
    #[arg(long, value_name = "SEEDS", verbatim_doc_comment)]
    pub(crate) repeat: Option<usize>,

    /// Where the model is trained: cpu; cuda or cuda:NUMBER, an NVIDIA GPU; or best, a GPU if there
    /// is one
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceName::Cpu)]
    pub(crate) device: DeviceName,

    /// What activations are and convolutions multiply on a GPU; bf16 is for a GPU only
    /// [default: bf16 on a GPU, else f32]
    #[arg(long, value_enum, value_name = "TYPE", verbatim_doc_comment)]
    pub(crate) dtype: Option<DTypeName>,

    /// Worker threads [default: one for each core, bound to it]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Folder for the results [default: runs/MODEL-seedSEED; after MODEL, -dense or a placement
    /// other than the default; with --repeat without the seed; if it holds results, with -2, -3,
    /// ... behind]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) out: Option<PathBuf>,

    /// Replace the results that the folder of --out holds
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,

    /// Go on where the run in the folder of --out stands, or begin there; the options that it was
    /// begun with need not be given again. The results are those of a run that was not interrupted,
    /// bit by bit. With a larger --epochs a run goes on beyond its end, by the schedule of that
    /// many epochs from there on
    #[arg(long, verbatim_doc_comment)]
    pub(crate) resume: bool,

    /// End after this many epochs, those of pre-training included; --resume goes on
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) stop_after: Option<usize>,

    /// Train the plain network with the same recipe too, in OUT/plain, and compare both in the end:
    /// accuracy, MACs, and the speed of their inference plans
    #[arg(long, verbatim_doc_comment)]
    #[arg(conflicts_with_all = ["dense", "repeat", "stop_after"])]
    pub(crate) compare: bool,

    /// Check everything, image files included, say what would be trained, and write no results
    #[arg(long, conflicts_with = "download")]
    pub(crate) dry_run: bool,
}

impl RunArgs {
    /// `Err` if an option is only for a GPU.
    pub(crate) fn check_dtype(&self, device: &Device) -> Result<()> {
        let bf16 = self.dtype == Some(DTypeName::Bf16) && matches!(device, Device::Cpu);
        ensure!(!bf16, "--dtype bf16 is for --device cuda: a processor trains in f32");
        Ok(())
    }
}
