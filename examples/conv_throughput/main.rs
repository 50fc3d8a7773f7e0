//! Measures single convolutions: the time that gates save, layer by layer.

mod args;
mod measure;
mod row;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use gaternet::cli::command_line::parse;
use gaternet::cli::conv_layers::{LAYERS, Layer, Op};
use gaternet::cli::dtype::DTypeName;
use gaternet::cli::report::{exit_code, say};
use gaternet::cli::threads::use_threads;

use crate::args::Args;
use crate::row::measure_layer;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    ensure!(!args.batch.contains(&0), "--batch 0: must be at least 1");
    ensure!(args.rotate <= 1 << 20, "--rotate {}: must be at most {}", args.rotate, 1 << 20);
    let named = |layer: &Layer| args.filter.iter().any(|part| layer.to_string().contains(part));
    let layers: Vec<_> =
        LAYERS.into_iter().filter(|layer| args.filter.is_empty() || named(layer)).collect();
    ensure!(
        !layers.is_empty(),
        "--filter {}: the layers are {}",
        args.filter.join(" "),
        LAYERS.map(|layer| layer.to_string()).join(", ")
    );
    let gradient = args.op.iter().find(|op| !matches!(op, Op::Forward));
    if let (Some(op), true) = (gradient, args.dtype.contains(&DTypeName::Bf16)) {
        bail!("--op {op} --dtype bf16: gradients are computed in f32");
    }
    use_threads(args.threads)?;
    if !args.json {
        say!(
            "op              layer         batch gating density dtype algorithm         ms   gflops  \
             ratio"
        )?;
    }
    // From outside the pool every call would wait for a worker to wake up.
    rayon::scope(|_| {
        for &op in &args.op {
            for &layer in &layers {
                for &batch in &args.batch {
                    for &dtype in &args.dtype {
                        measure_layer(&args, (op, dtype.into()), layer, batch)?;
                    }
                }
            }
        }
        Ok(())
    })
}
