//! Trains a gated network, or the plain one with the same recipe, on CIFAR, image files or the built-in set.

mod args;
mod args_augment;
mod args_backbone;
mod args_data;
mod args_gater;
mod args_gater_training;
mod args_gates;
mod args_optim;
mod args_run;
#[path = "../common/classes.rs"]
mod classes;
#[path = "../common/command_line.rs"]
mod command_line;
mod comparison;
mod config_file;
#[path = "../common/device.rs"]
mod device;
#[cfg(feature = "download")]
mod download;
#[path = "../common/dtype.rs"]
mod dtype;
#[path = "../common/evaluation.rs"]
mod evaluation;
#[path = "../common/gate_override.rs"]
mod gate_override;
mod gpu;
mod identity;
#[path = "../common/image_check.rs"]
mod image_check;
mod images;
mod interrupt;
#[path = "../common/names.rs"]
mod names;
#[path = "../common/note.rs"]
mod note;
mod options;
mod phase;
#[path = "../common/pipeline.rs"]
mod pipeline;
mod progress;
mod recipe;
mod repeat;
#[path = "../common/report.rs"]
mod report;
mod run_folder;
mod run_lock;
#[path = "../common/sets.rs"]
mod sets;
mod state;
#[path = "../common/table.rs"]
mod table;
#[path = "../common/threads.rs"]
mod threads;
#[path = "../common/timing.rs"]
mod timing;
mod training;

use std::process::ExitCode;

use anyhow::Result;
#[cfg(not(feature = "download"))]
use anyhow::ensure;

#[cfg(feature = "download")]
use crate::download::Archive;
use crate::interrupt::Interrupted;
use crate::recipe::Recipe;
use crate::report::exit_code;
use crate::threads::use_threads;

/// The official archive; its page states the checksum.
#[cfg(feature = "download")]
const CIFAR_10: Archive<'static> = Archive {
    url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5: "c32a1d4ab5d03f1284b67883e8d87530",
    folder: "cifar-10-batches-bin",
};

fn main() -> ExitCode {
    match run() {
        // It has said what there is to say.
        Err(error) if error.is::<Interrupted>() => {
            let code = error.downcast_ref().map_or(u8::MAX, Interrupted::exit_code);
            ExitCode::from(code)
        }
        result => exit_code(result),
    }
}

fn run() -> Result<()> {
    let (args, options) = options::parse()?;
    #[cfg(not(feature = "download"))]
    ensure!(
        !args.data.download,
        "--download: this program was built without it; with it: \
         cargo run --release --features download --example train_cifar -- --download"
    );
    // Before a download.
    Recipe::new(&args, &options)?;
    let device = args.run.device.open()?;
    gpu::check_options(&args, &device)?;
    use_threads(args.run.threads)?;
    #[cfg(feature = "download")]
    if args.data.download {
        CIFAR_10.fetch(args.data.dir())?;
    }
    repeat::run(&args, &options, &device)
}
