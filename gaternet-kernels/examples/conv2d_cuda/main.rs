//! Measures convolutions on a GPU: the time that gates save, layer by layer.

mod measure;

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::{CudaDevice, CudaError, CudaOptions, Products};
use serde::Serialize;

use crate::measure::{Convolution, Gating, Op};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Instructions {
    /// The faster
    Auto,
    MmaSync,
    Wgmma,
}

/// Channels and filters, side of the map, side of the kernel.
#[derive(Debug, Clone, Copy)]
struct Layer {
    ci: usize,
    co: usize,
    side: usize,
    k: usize,
}

impl Layer {
    fn dims(self, batch: usize) -> Result<Conv2dDims, CudaError> {
        let Layer { ci, co, side, k } = self;
        Ok(Conv2dDims::new([batch, ci, side, side], [co, ci, k, k], [1, 1], [k / 2, k / 2])?)
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Layer, String> {
        let numbers: Option<Vec<usize>> =
            text.split(['x', '@', 'k']).map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[ci, co, side, k])
                if text == format!("{ci}x{co}@{side}k{k}")
                    && ![ci, co, side].contains(&0)
                    && k % 2 == 1 =>
            {
                Ok(Layer { ci, co, side, k })
            }
            _ => Err("expected such as 64x64@56k3, the kernel's side being odd".to_owned()),
        }
    }
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
    device: String,
    density: f64,
    gating: String,
    dtype: &'static str,
    algorithm: String,
    ms: f64,
    gflops: f64,
    ratio: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conv2d_cuda: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<(), CudaError> {
    if args.probe {
        let device = CudaDevice::new(0)?;
        let (major, minor) = device.compute_capability();
        println!("{}, compute capability {major}.{minor}", device.name());
        return Ok(());
    }
    if !args.json {
        println!(
            "op              layer            batch algorithm gating density       ms  tflops  ratio"
        );
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
                    measure_layer(args, &device, instructions, layer, batch, op)?;
                }
            }
        }
    }
    Ok(())
}

fn measure_layer(
    args: &Args,
    device: &CudaDevice,
    instructions: Instructions,
    layer: Layer,
    batch: usize,
    op: Op,
) -> Result<(), CudaError> {
    let dims = layer.dims(batch)?;
    let mut cases = Vec::new();
    for (gating, density) in Gating::cases() {
        cases.push(Convolution::new(device, dims, op, gating, density, args.rotate << 20)?);
    }
    let seconds = measure::medians(device, &cases, Duration::from_millis(args.run))?;
    let operations = 2.0 * dims.macs_per_sample() as f64 * batch as f64;
    for ((gating, density), time) in Gating::cases().zip(&seconds) {
        let row = Row {
            op: name(op),
            ci: layer.ci,
            co: layer.co,
            h: layer.side,
            w: layer.side,
            k: layer.k,
            stride: 1,
            batch,
            device: device.name().to_owned(),
            density,
            gating: name(gating),
            dtype: "bf16",
            algorithm: name(instructions),
            ms: time * 1e3,
            gflops: operations / time / 1e9,
            ratio: time / seconds[0],
        };
        row.print(args.json);
    }
    Ok(())
}

impl Row {
    fn print(&self, json: bool) {
        let Row { op, ci, co, h, k, batch, algorithm, gating, density, ms, gflops, ratio, .. } =
            self;
        if json {
            println!("{}", serde_json::to_string(self).expect("numbers and names"));
            return;
        }
        let layer = format!("{ci}x{co}@{h}k{k}");
        let tflops = gflops / 1e3;
        println!(
            "{op:<15} {layer:<16} {batch:>5} {algorithm:<9} {gating:<6} {density:>7} {ms:>8.4} \
             {tflops:>7.1} {ratio:>6.3}"
        );
    }
}

/// As it is written on the command line.
fn name(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}
