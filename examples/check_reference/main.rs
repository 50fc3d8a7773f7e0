//! Repeats a computation of the authors' implementation and compares every number of it.

mod group;
mod kinks;
mod nudge;
mod reference;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};

use crate::reference::{Comparison, Reference};

/// Compare this library with values computed by the authors' implementation.
///
/// FILE holds a gated ResNet, a batch, the noise of its gates, and what the authors' modules made
/// of them: outputs, losses, gradients, and the state after one optimiser step. Prints the largest
/// error of each group; the exit status is 1 if one is over its bound. A ReLU input so close to 0
/// that rounding decides its sign is put on the reference's side of 0, and listed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Reference values (safetensors)
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    let reference = Reference::load(&args.file)?;
    say!("{}", reference.describe())?;
    let Comparison { groups, nudges } = reference.compare(kinks::resolve)?;
    say!("{:<44} {:>12} {:>10}  worst", "group", "error", "bound")?;
    for group in &groups {
        say!("{group}")?;
    }
    for nudge in &nudges {
        say!("{nudge}")?;
    }
    let failed = groups.iter().filter(|group| !group.passes()).count();
    ensure!(failed == 0, "{failed} of {} groups are over their bound", groups.len());
    Ok(say!("all {} groups are within their bounds", groups.len())?)
}
