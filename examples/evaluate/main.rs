//! Measures a trained model: accuracy, open gates, MACs and speed on a test set.

#[path = "../common/data.rs"]
mod data;
#[path = "../common/device.rs"]
mod device;
#[path = "../common/dtype.rs"]
mod dtype;
#[path = "../common/evaluation.rs"]
mod evaluation;
mod pipeline;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/sets.rs"]
mod sets;
#[path = "../common/table.rs"]
mod table;
#[path = "../common/threads.rs"]
mod threads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use gaternet::core::checkpoint::Checkpoint;
use gaternet::models::{DType, Model};
use serde_json::json;

use crate::data::{BUILT_IN, Data};
use crate::device::DeviceName;
use crate::dtype::DTypeName;
use crate::evaluation::{Evaluation, TestSet, evaluate};
use crate::report::exit_code;
use crate::sets::Sets;
use crate::table::{millions, percent, print_table};
use crate::threads::use_threads;

/// Measures a model saved by train_cifar on a test set: accuracy, cross-entropy, open gates, MACs per
/// image with and without gating, images per second.
#[derive(Debug, Parser)]
#[command(name = "evaluate", verbatim_doc_comment)]
struct Args {
    /// The model, OUT/model.safetensors of train_cifar
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    /// Folder that holds cifar-10-batches-bin/ or cifar-100-binary/, or is one of them; or that holds JPEG
    /// and PNG files as train/CLASS/* and val/CLASS/* (or test/CLASS/*)
    /// [default: none, the built-in test set that the model was trained with]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    data: Option<PathBuf>,

    /// Pixels of the middle of an image that the model sees [default: those it was trained with]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,

    /// Pixels of the shorter side of an image before its middle is cut out
    /// [default: as trained; 8/7 of --image-size if that is given]
    #[arg(long, value_name = "PIXELS", verbatim_doc_comment)]
    resize: Option<usize>,

    /// Print one JSON object instead of a table; shares are of 1, MACs are counts per image
    #[arg(long)]
    json: bool,

    /// Images per pass; changes speed and memory, not the results
    #[arg(long, value_name = "IMAGES", default_value_t = 128)]
    batch_size: usize,

    /// What the convolutions multiply
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DTypeName,

    /// Where the model runs: cpu; cuda or cuda:NUMBER, an NVIDIA GPU; or best, a GPU if there is one. On a GPU, bf16 has
    /// tensor cores, and f32 is for comparisons
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceName::Cpu, verbatim_doc_comment)]
    device: DeviceName,

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
    let device = args.device.open()?;
    use_threads(args.threads)?;
    let model = Model::load(&args.checkpoint)?;
    let augment = pipeline::of(&args.checkpoint, args.image_size, args.resize)?;
    let Sets { name, images: [_, images] } = match &args.data {
        Some(dir) => Sets::open(dir)?,
        None => built_in(&args.checkpoint)?.into(),
    };
    let count = images.len();
    let start = Instant::now();
    let dtype = DType::from(args.dtype);
    let test = TestSet { images, augment };
    let evaluation = evaluate(&model, &test, args.batch_size, dtype, &device)?;
    let speed = count as f64 / start.elapsed().as_secs_f64();
    let print = if args.json { print_json } else { print_human };
    print(name, count, dtype, &evaluation, speed);
    Ok(())
}

/// The built-in test set that the model in `checkpoint` was trained with.
fn built_in(checkpoint: &Path) -> Result<Data> {
    let metadata = Checkpoint::load(checkpoint)?.metadata;
    let path = checkpoint.display();
    let entry = |key: &str| metadata.get(key).map_or("none", String::as_str);
    if entry("data") != BUILT_IN {
        bail!("{path} was trained on {}, not on the built-in set: pass --data DIR", entry("data"));
    }
    fn number<N: FromStr>(path: &Path, key: &str, text: &str) -> Result<N> {
        text.parse().ok().with_context(|| {
            format!("{}: metadata {key}: expected a number, got {text:?}", path.display())
        })
    }
    let seed = number(checkpoint, "seed", entry("seed"))?;
    let images = number(checkpoint, "test_images", entry("test_images"))?;
    Data::built_in(seed, 0, images).with_context(|| format!("metadata of {path}"))
}

fn print_json(data: &str, images: usize, dtype: DType, evaluation: &Evaluation, speed: f64) {
    let Evaluation { accuracy, loss, gate_density, cost } = evaluation;
    let object = json!({
        "data": data,
        "images": images,
        "dtype": dtype.to_string(),
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

fn print_human(data: &str, images: usize, dtype: DType, evaluation: &Evaluation, speed: f64) {
    let Evaluation { accuracy, loss, gate_density, cost } = evaluation;
    let gated = cost.executed + cost.gater;
    print_table(&[
        ("data", format!("{data}, {images} test images")),
        ("dtype", dtype.to_string()),
        ("accuracy", percent(*accuracy)),
        ("loss", format!("{loss:.4}")),
        ("gates open", percent(*gate_density)),
        ("MACs per image, plain backbone", millions(cost.backbone)),
        ("MACs per image, gated", format!("{} ({:.3}x)", millions(gated), cost.ratio())),
        ("  of which gater", millions(cost.gater)),
        ("speed", format!("{speed:.0} images/s")),
    ]);
}
