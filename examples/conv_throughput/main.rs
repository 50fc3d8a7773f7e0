//! Measures single convolutions: the time that gates save, layer by layer.

#[path = "../common/command_line.rs"]
mod command_line;
#[path = "../common/conv_layers.rs"]
mod conv_layers;
#[path = "../common/dtype.rs"]
mod dtype;
mod measure;
#[path = "../common/note.rs"]
mod note;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/threads.rs"]
mod threads;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use gaternet::core::Ctx;
use gaternet::kernels::DType;
use serde::Serialize;

use crate::command_line::parse;
use crate::conv_layers::{Gates, LAYERS, Layer, cases};
use crate::dtype::DTypeName;
use crate::measure::{Convolution, Op};
use crate::report::{OutputError, exit_code, say};
use crate::threads::use_threads;

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

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Row {
    op: String,
    ci: usize,
    co: usize,
    h: usize,
    w: usize,
    k: usize,
    stride: usize,
    batch: usize,
    threads: usize,
    density: f64,
    gating: String,
    dtype: String,
    algorithm: String,
    ms: f64,
    gflops: f64,
}

impl Row {
    /// `ratio` is of the time to that with all filters live.
    fn print(&self, layer: &str, ratio: f64) -> Result<(), OutputError> {
        let Row { op, batch, density, gating, dtype, algorithm, ms, gflops, .. } = self;
        say!(
            "{op:<15} {layer:<13} {batch:>5} {gating:<6} {density:>7} {dtype:<5} {algorithm:<9} \
             {ms:>10.4} {gflops:>8.1} {ratio:>6.3}"
        )
    }
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

fn measure_layer(args: &Args, what: (Op, DType), layer: Layer, batch: usize) -> Result<()> {
    let mut convolution = Convolution::new(layer, batch, what, args.rotate << 20)?;
    let (op, dtype) = what;
    let mut random = Ctx::train(1);
    let gates: Vec<_> = cases()
        .map(|(gating, density)| Gates::draw(layer, batch, gating, density, random.rng()))
        .collect();
    let seconds = convolution.seconds(&gates, Duration::from_millis(args.run))?;
    let operations = 2.0 * layer.dims(batch)?.macs_per_sample() as f64 * batch as f64;
    for ((gating, density), time) in cases().zip(&seconds) {
        let row = Row {
            op: op.to_string(),
            ci: layer.ci,
            co: layer.co,
            h: layer.side,
            w: layer.side,
            k: layer.k,
            stride: 1,
            batch,
            threads: rayon::current_num_threads(),
            density,
            gating: gating.to_string(),
            dtype: dtype.to_string(),
            algorithm: convolution.algorithm(gating).to_string(),
            ms: rounded(1e3 * time, 1e5),
            gflops: rounded(operations / time / 1e9, 10.0),
        };
        match args.json {
            true => say!("{}", serde_json::to_string(&row)?)?,
            false => row.print(&layer.to_string(), time / seconds[0])?,
        }
    }
    Ok(())
}

fn rounded(x: f64, places: f64) -> f64 {
    (x * places).round() / places
}
