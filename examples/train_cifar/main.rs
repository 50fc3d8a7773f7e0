//! Trains a gated ResNet, or the plain one with the same recipe, on CIFAR or on the built-in set.

mod args;
#[path = "../common/data.rs"]
mod data;
mod download;
#[path = "../common/evaluation.rs"]
mod evaluation;
#[path = "../common/names.rs"]
mod names;
mod progress;
mod recipe;
#[path = "../common/report.rs"]
mod report;
mod run_folder;
#[path = "../common/table.rs"]
mod table;
#[path = "../common/threads.rs"]
mod threads;
mod training;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Args;
use crate::data::Data;
use crate::download::Archive;
use crate::recipe::Recipe;
use crate::report::exit_code;
use crate::run_folder::RunFolder;
use crate::threads::use_threads;
use crate::training::Training;

/// The official archive; its page states the checksum.
const CIFAR_10: Archive<'static> = Archive {
    url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5: "c32a1d4ab5d03f1284b67883e8d87530",
    folder: "cifar-10-batches-bin",
};

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args = Args::parse_with_config_file()?;
    let recipe = Recipe::new(&args)?;
    use_threads(args.threads)?;
    if args.download {
        CIFAR_10.fetch(args.data_dir())?;
    }
    let data = match args.uses_built_in() {
        true => Data::built_in(args.seed, args.train_images, args.test_images)?,
        false => Data::cifar(args.data_dir())?,
    };
    // Everything that can be wrong with the input is known here, and nothing has been written.
    let mut training = Training::new(recipe, data)?;
    let mut folder = RunFolder::create(&args.out_dir(), args.overwrite)?;
    training.run(&mut folder)
}
