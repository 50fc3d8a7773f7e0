//! Writes a trained model for other programs: as ONNX, or without its gates.

#[path = "../common/classes.rs"]
mod classes;
#[path = "../common/command_line.rs"]
mod command_line;
#[path = "../common/image_check.rs"]
mod image_check;
#[path = "../common/note.rs"]
mod note;
#[path = "../common/pipeline.rs"]
mod pipeline;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/sets.rs"]
mod sets;
#[path = "../common/table.rs"]
mod table;
#[path = "../common/threads.rs"]
mod threads;
#[path = "../common/trained_data.rs"]
mod trained_data;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use gaternet::core::checkpoint::Checkpoint;
use gaternet::core::data::{Augment, Dataset, ImageSource};
use gaternet::core::nn::Module;
use gaternet::models::{Calibration, GatedNet, InferencePlan, Model, PlanOptions};

use crate::command_line::parse;
use crate::image_check::checked;
use crate::report::{exit_code, say};
use crate::sets::Sets;
use crate::table::{millions, percent, print_table};
use crate::threads::use_threads;
use crate::trained_data::{for_first_images, trained_data};

/// Writes a model saved by train_cifar for other programs.
///
/// As ONNX: images (N, 3, H, W) to logits, the whole gated network with its gater included. Gates multiply by 0
/// and 1 there, so nothing is skipped.
///
/// With --calibration its static part, a smaller network without gater and gates: filters that no image of
/// the calibration set opens are gone, the others always run. As safetensors its tensors have PyTorch's names,
/// and evaluate reads the file.
#[derive(Debug, Parser)]
#[command(name = "export", verbatim_doc_comment)]
struct Args {
    /// The model, OUT/model.safetensors of train_cifar
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    /// File to write: .onnx, or .safetensors of a static part
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Only the static part, by the first so many training images
    #[arg(long, value_name = "IMAGES")]
    calibration: Option<usize>,

    /// Of the static part: filters that no more than this share of the images opens are gone too
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, requires = "calibration")]
    min_open: f64,

    /// Folder of the training images, as for train_cifar
    /// [default: none, the built-in set that the model was trained with]
    #[arg(long, value_name = "DIR", requires = "calibration", verbatim_doc_comment)]
    data: Option<PathBuf>,

    /// Of data that has the classes of the model in another order, go by their names
    #[arg(long, requires = "data")]
    classes_by_name: bool,

    /// Leave out image files that cannot be read, and list them
    #[arg(long, requires = "data")]
    skip_bad: bool,

    /// Worker threads [default: one for each core, bound to it]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Images of a pass.
const BATCH: usize = 128;

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
        "--out {out}: the model already is such a file; pass --calibration for its static part"
    );
    use_threads(args.threads)?;
    let model = Model::load(&args.checkpoint)?;
    let metadata = Checkpoint::load(&args.checkpoint)?.metadata;
    let model = match (args.calibration, model) {
        (None, model) => model,
        (Some(_), Model::Plain(_)) => {
            bail!("--calibration: {} has no gates", args.checkpoint.display())
        }
        (Some(images), Model::Gated(model)) => static_part(&args, &model, images)?,
    };
    match onnx {
        true => model.save_onnx(&args.out, &metadata)?,
        false => model.save(&args.out, &metadata)?,
    }
    say!("wrote {out}")?;
    Ok(())
}

fn static_part(args: &Args, model: &GatedNet, images: usize) -> Result<Model> {
    let data = trained_data(&args.checkpoint, args.data.as_deref(), images, args.classes_by_name)?;
    let name = data.name().to_owned();
    let Sets { images: [train, _] } = data;
    let ([train], _) = checked([train], args.skip_bad)?;
    let augment = pipeline::of(&args.checkpoint, None, None)?;
    let calibration = calibrate(model, &train, &augment, images)?;
    let part = model.static_part(&calibration, args.min_open)?;
    let counts = calibration.opened();
    let gates = |settled: fn(usize, usize) -> bool| {
        counts.iter().filter(|opened| settled(**opened, images)).count()
    };
    let (closed, open) = (gates(|opened, _| opened == 0), gates(|opened, images| opened == images));
    let least = args.min_open * images as f64;
    let kept = counts.iter().filter(|opened| **opened as f64 > least).count();
    let share = |gates: usize| format!("{gates} ({})", percent(gates as f64 / counts.len() as f64));
    let (whole, size) = (model.backbone(), augment.output_size(&train)?);
    let of = |part: f64, whole: f64| format!("{} of {}", millions(part), millions(whole));
    let parameters = [part.parameter_count(), whole.parameter_count()].map(|count| count as f64);
    let macs = [part.macs(size)?, whole.macs(size)?].map(|count| count as f64);
    print_table(&[
        ("calibration", format!("{name}, {images} training images")),
        ("gates", counts.len().to_string()),
        ("  closed for all images", share(closed)),
        ("  open for all images", share(open)),
        ("  differing", share(counts.len() - closed - open)),
        ("filters that are left", share(kept)),
        ("parameters of the backbone", of(parameters[0], parameters[1])),
        ("MACs of the backbone", of(macs[0], macs[1])),
    ])?;
    Ok(Model::Plain(part.into()))
}

/// What the gater opens for the first `count` of `images`.
fn calibrate(
    model: &GatedNet,
    images: &ImageSource,
    augment: &Augment,
    count: usize,
) -> Result<Calibration> {
    let size = augment.output_size(images)?;
    let image_len = images.channels() * size[0] * size[1];
    let plan = InferencePlan::gated(model, PlanOptions { size, ..PlanOptions::default() })?;
    let mut calibration = Calibration::new(plan.gate_count());
    for_first_images(images, augment, count, BATCH, |images| {
        let mut gates = vec![0.0; images.len() / image_len * plan.gate_count()];
        plan.gates(images, &mut gates)?;
        Ok(calibration.add(&gates)?)
    })?;
    Ok(calibration)
}
