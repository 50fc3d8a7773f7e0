//! Measures whole networks: images a second of the plain backbone, masked, and with closed filters
//! skipped.

mod args;
mod row;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};
use gaternet::cli::threads::use_threads;
use gaternet::cli::throughput_network::Network;

use crate::args::Args;
use crate::row::{measure, print};

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    for &batch in &args.batch {
        ensure!((1..=4096).contains(&batch), "--batch {batch}: must be between 1 and 4096");
    }
    for &density in &args.density {
        ensure!((0.0..=1.0).contains(&density), "--density {density}: must be between 0 and 1");
    }
    use_threads(args.threads)?;
    if !args.json {
        say!(
            "{:<9} {:<7} {:<15} {:>7} {:<5} {:>5} {:>6} {:>9}",
            "model",
            "gating",
            "placement",
            "density",
            "dtype",
            "batch",
            "MACs",
            "images/s"
        )?;
    }
    // From outside the pool every pass would wait for a worker to wake up.
    rayon::scope(|_| {
        for &model in &args.model {
            for &placement in &args.placement {
                let network = Network::new(args.gated_config(model, placement))?;
                for &density in &args.density {
                    for &batch in &args.batch {
                        for row in measure(&args, &network, (model, placement), density, batch)? {
                            print(&args, &row)?;
                        }
                    }
                }
            }
        }
        Ok(())
    })
}
