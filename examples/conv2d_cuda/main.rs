//! Measures convolutions on a GPU: the time that gates save, layer by layer.

mod measure;
mod row;

use std::fmt;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use gaternet::cli::command_line::{parse, write_value};
use gaternet::cli::conv_layers::{Layer, Op};
use gaternet::cli::report::{exit_code, say};
use gaternet::kernels::cuda::{CudaDevice, CudaOptions, Products};

use crate::row::measure_layer;

/// Measures single convolutions in bf16 on a GPU with all filters live, and with gates on their output
/// or their input.
///
/// Times are medians of 9 runs of a CUDA graph, whose calls take their operands in turn from buffers
/// that do not fit in the cache together. Every sample has its own gates, each open with the given
/// probability (the density); making the lists of live filters is not measured. ratio is the time over
/// that with all filters live; tflops counts what a layer computes with all filters live, so work that
/// is skipped shows as a rate above the device's peak.
#[derive(Debug, Parser)]
#[command(name = "conv2d_cuda", verbatim_doc_comment)]
struct Args {
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,

    /// Print the name of the device and end
    #[arg(long)]
    probe: bool,

    /// Channels x filters @ side of the map, k and the kernel's side; stride 1, size is kept
    #[arg(long, value_name = "LAYER", num_args = 1.., verbatim_doc_comment,
          default_values = ["160x160@32k3", "320x320@16k3", "64x64@56k3", "256x256@14k3"])]
    layer: Vec<Layer>,

    /// Samples of a call
    #[arg(long, value_name = "SAMPLES", num_args = 1.., default_values_t = [128])]
    batch: Vec<usize>,

    /// What is computed
    #[arg(long, value_enum, num_args = 1..,
          default_values = ["forward", "backward-input", "backward-weight"])]
    op: Vec<Op>,

    /// The instructions that multiply
    #[arg(long, value_enum, num_args = 1.., default_value = "auto")]
    instructions: Vec<Instructions>,

    /// Size of the buffers that a graph takes operands from, together
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    rotate: usize,

    /// Duration of a run, about
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30)]
    run: u64,
}

/// The instructions that multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Instructions {
    /// The faster
    Auto,
    MmaSync,
    Wgmma,
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    ensure!(!args.batch.contains(&0), "--batch 0: must be at least 1");
    ensure!(args.rotate <= 1 << 20, "--rotate {}: must be at most {}", args.rotate, 1 << 20);
    if args.probe {
        let device = CudaDevice::new(0)?;
        let (major, minor) = device.compute_capability();
        return Ok(say!("{}, compute capability {major}.{minor}", device.name())?);
    }
    if !args.json {
        say!(
            "op              layer            batch algorithm gating density       ms  tflops  ratio"
        )?;
    }
    for &instructions in &args.instructions {
        let mut options = CudaOptions::from_env(0);
        options.products = match instructions {
            Instructions::Auto => Products::Auto,
            Instructions::MmaSync => Products::MmaSync,
            Instructions::Wgmma => Products::Wgmma,
        };
        let device = CudaDevice::with_options(options)?;
        for &layer in &args.layer {
            for &batch in &args.batch {
                for &op in &args.op {
                    measure_layer(&args, (&device, instructions), (op, layer), batch)?;
                }
            }
        }
    }
    Ok(())
}
