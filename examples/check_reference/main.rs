//! Repeats a computation of the authors' implementation and compares every number of it.

mod group;
mod kinks;
mod reference;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use reference::{Comparison, Reference};

/// Compare this library with values computed by the authors' implementation.
///
/// FILE holds a gated ResNet, a batch, the noise of its gates, and what the authors' modules made of
/// them: outputs, losses, gradients, and the state after one optimiser step. Prints the largest error of
/// each group; the exit status is 1 if one is over its bound. A ReLU input so close to 0 that rounding
/// decides its sign is put on the reference's side of 0, and listed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Reference values (safetensors)
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let reference = Reference::load(&args.file)?;
    println!("{}", reference.describe());
    let Comparison { groups, nudges } = reference.compare()?;
    println!("{:<44} {:>12} {:>10}  worst", "group", "error", "bound");
    for group in &groups {
        println!("{group}");
    }
    for nudge in &nudges {
        println!("{nudge}");
    }
    let failed = groups.iter().filter(|group| !group.passes()).count();
    if failed > 0 {
        println!("{failed} of {} groups are over their bound", groups.len());
        return Ok(ExitCode::FAILURE);
    }
    println!("all {} groups are within their bounds", groups.len());
    Ok(ExitCode::SUCCESS)
}
