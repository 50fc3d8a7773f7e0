//! Measures single convolutions: the time that gates save, layer by layer.

mod measure;
mod row;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use gaternet::cli::command_line::parse;
use gaternet::cli::conv_layers::{LAYERS, Layer, Op};
use gaternet::cli::dtype::DTypeName;
use gaternet::cli::report::{exit_code, say};
use gaternet::cli::threads::use_threads;

use crate::row::measure_layer;

/// Measures single convolutions with all filters live, and with gates on their output, their input or
/// both.
///
/// Times are medians of 9 runs. Every sample has its own gates, each open with the given probability
/// (the density); making the lists of live filters is not measured. ms is milliseconds a call, ratio
/// that over the time with all filters live. gflops is 10^9 operations a second, where a layer counts
/// 2 operations for each multiply-accumulate it has with all filters live: work that is skipped shows
/// as a rate above the machine's peak.
#[derive(Debug, Parser)]
#[command(name = "conv_throughput", verbatim_doc_comment)]
struct Args {
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,

    /// Measure only layers with one of these in their name, such as 64x64@8k3: channels x filters @
    /// side of the map, k and the kernel's side [default: all]
    #[arg(long, value_name = "LAYER", num_args = 1.., verbatim_doc_comment)]
    filter: Vec<String>,

    /// Samples of a call
    #[arg(long, value_name = "SAMPLES", num_args = 1.., default_values_t = [1, 64])]
    batch: Vec<usize>,

    /// What is computed
    #[arg(long, value_enum, num_args = 1.., default_value = "forward")]
    op: Vec<Op>,

    /// What is multiplied; gradients have f32 only
    #[arg(long, value_enum, num_args = 1.., default_value = "f32")]
    dtype: Vec<DTypeName>,

    /// Worker threads [default: one for each core]; if there are as many as cores, each is bound to one
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Calls take their inputs in turn from buffers of this size together, so that the inputs are not
    /// all in a cache; 0 gives every call the same input
    #[arg(long, value_name = "MIB", default_value_t = 64, verbatim_doc_comment)]
    rotate: usize,

    /// Duration of a run, about
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30)]
    run: u64,
}

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
