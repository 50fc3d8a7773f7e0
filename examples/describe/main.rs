//! Counts of a network: parameters, MACs and gates, block by block.

mod args;
mod description;
mod latency;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};
use gaternet::cli::threads::use_threads;

use crate::args::{Args, build};
use crate::description::Description;
use crate::latency::latencies;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    ensure!(args.classes != Some(0), "--classes 0: must be at least 1");
    for density in &args.density {
        ensure!((0.0..=1.0).contains(density), "--density {density}: must be between 0 and 1");
    }
    if args.latency {
        use_threads(args.threads)?;
    }
    let (model, size) = build(&args)?;
    let mut description = Description::new(&model, size)?;
    if args.latency {
        // From outside the pool every pass would wait for a worker to wake up.
        description.latency =
            rayon::scope(|_| latencies(&model, size, args.dtype.into(), &args.density))?;
    }
    if args.json {
        say!("{}", serde_json::to_string(&description)?)?;
    } else {
        description.print()?;
    }
    Ok(())
}
