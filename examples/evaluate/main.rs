//! Measures a trained model: accuracy, open gates, MACs and speed on a test set.

#[path = "../common/data.rs"]
mod data;
#[path = "../common/evaluation.rs"]
mod evaluation;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/table.rs"]
mod table;
#[path = "../common/threads.rs"]
mod threads;
#[path = "../common/trained_data.rs"]
mod trained_data;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use gaternet::models::Model;
use serde_json::json;

use crate::data::Data;
use crate::evaluation::{Evaluation, evaluate};
use crate::report::exit_code;
use crate::table::{millions, percent, print_table};
use crate::threads::use_threads;
use crate::trained_data::trained_data;

/// Measures a model saved by train_cifar on a test set: accuracy, cross-entropy, open gates, MACs per
/// image with and without gating, images per second.
#[derive(Debug, Parser)]
#[command(name = "evaluate", verbatim_doc_comment)]
struct Args {
    /// The model, OUT/model.safetensors of train_cifar
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    /// Folder that holds cifar-10-batches-bin/ or cifar-100-binary/, or is one of them
    /// [default: none, the built-in test set that the model was trained with]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    data: Option<PathBuf>,

    /// Print one JSON object instead of a table; shares are of 1, MACs are counts per image
    #[arg(long)]
    json: bool,

    /// Images per pass; changes speed and memory, not the results
    #[arg(long, value_name = "IMAGES", default_value_t = 128)]
    batch_size: usize,

    /// Worker threads [default: one for each core, bound to it]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args = Args::parse();
    ensure!(args.batch_size > 0, "--batch-size 0: must be at least 1");
    use_threads(args.threads)?;
    let model = Model::load(&args.checkpoint)?;
    let Data { name, sets } = trained_data(&args.checkpoint, args.data.as_deref(), 0)?;
    let test = Arc::new(sets.test);
    let start = Instant::now();
    let evaluation = evaluate(&model, &test, args.batch_size)?;
    let speed = test.len() as f64 / start.elapsed().as_secs_f64();
    let print = if args.json { print_json } else { print_human };
    print(name, test.len(), &evaluation, speed);
    Ok(())
}

fn print_json(data: &str, images: usize, evaluation: &Evaluation, speed: f64) {
    let Evaluation { accuracy, loss, gate_density, cost } = evaluation;
    let object = json!({
        "data": data,
        "images": images,
        "accuracy": accuracy,
        "loss": loss,
        "gate_density": gate_density,
        "macs_plain": cost.backbone,
        "macs_gated": cost.executed + cost.gater,
        "macs_gater": cost.gater,
        "macs_ratio": cost.ratio(),
        "images_per_second": speed,
    });
    println!("{object}");
}

fn print_human(data: &str, images: usize, evaluation: &Evaluation, speed: f64) {
    let Evaluation { accuracy, loss, gate_density, cost } = evaluation;
    let gated = cost.executed + cost.gater;
    print_table(&[
        ("data", format!("{data}, {images} test images")),
        ("accuracy", percent(*accuracy)),
        ("loss", format!("{loss:.4}")),
        ("gates open", percent(*gate_density)),
        ("MACs per image, plain backbone", millions(cost.backbone)),
        ("MACs per image, gated", format!("{} ({:.3}x)", millions(gated), cost.ratio())),
        ("  of which gater", millions(cost.gater)),
        ("speed", format!("{speed:.0} images/s")),
    ]);
}
