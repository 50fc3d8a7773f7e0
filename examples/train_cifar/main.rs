//! Trains a gated network, or the plain one with the same recipe, on CIFAR, image files or the
//! built-in set.

mod advice;
mod args;
mod args_augment;
mod args_backbone;
mod args_data;
mod args_gater;
mod args_gater_training;
mod args_gates;
mod args_optim;
mod args_run;
mod comparison;
mod config_file;
mod console;
mod images;
mod interrupt;
mod options;
mod recipe;
mod repeat;
mod run_report;

use std::process::ExitCode;

use anyhow::Result;
#[cfg(not(feature = "download"))]
use anyhow::ensure;
#[cfg(feature = "download")]
use gaternet::cli::download::Archive;
use gaternet::cli::report::exit_code;
use gaternet::cli::threads::use_threads;

use crate::interrupt::Interrupted;

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
    recipe::of(&args)?;
    let device = args.run.device.open()?;
    args.run.check_dtype(&device)?;
    use_threads(args.run.threads)?;
    #[cfg(feature = "download")]
    if args.data.download {
        CIFAR_10.fetch(args.data.dir())?;
    }
    repeat::run(&args, &options, &device)
}
