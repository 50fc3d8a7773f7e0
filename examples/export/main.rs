//! Writes a trained model for other programs: as ONNX, or without its gates.

mod args;
mod pruned_subnetwork;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};
use gaternet::cli::threads::use_threads;
use gaternet::core::checkpoint::Checkpoint;
use gaternet::models::Model;

use crate::args::Args;
use crate::pruned_subnetwork::pruned_subnetwork;

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    let out = args.out.display();
    let onnx = match args.out.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => true,
        Some("safetensors") => false,
        _ => bail!("--out {out}: must end with .onnx or .safetensors"),
    };
    ensure!(args.calibration != Some(0), "--calibration 0: must be at least 1");
    let min_open = args.min_open;
    ensure!(
        (0.0..1.0).contains(&min_open),
        "--min-open {min_open}: must be at least 0 and below 1"
    );
    ensure!(
        onnx || args.calibration.is_some(),
        "--out {out}: the model already is such a file; pass --calibration for its pruned subnetwork"
    );
    use_threads(args.threads)?;
    let model = Model::load(&args.checkpoint)?;
    let file = Checkpoint::open(&args.checkpoint)?;
    let metadata = &file.outline().metadata;
    let model = match (args.calibration, model) {
        (None, model) => model,
        (Some(_), Model::Plain(_)) => {
            bail!("--calibration: {} has no gates", args.checkpoint.display())
        }
        (Some(images), Model::Gated(model)) => pruned_subnetwork(&args, &model, images)?,
    };
    match onnx {
        true => model.save_onnx(&args.out, metadata)?,
        false => model.save(&args.out, metadata)?,
    }
    say!("wrote {out}")?;
    Ok(())
}
