//! Measures convolutions on a GPU: the time that gates save, layer by layer.

mod args;
mod measure;
mod row;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};
use gaternet::kernels::cuda::{CudaDevice, CudaOptions, Products};

use crate::args::{Args, Instructions};
use crate::row::measure_layer;

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
