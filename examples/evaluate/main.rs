//! Measures a trained model: accuracy, open gates, MACs and speed on a test set.

#[path = "../common/classes.rs"]
mod classes;
#[path = "../common/command_line.rs"]
mod command_line;
#[path = "../common/device.rs"]
mod device;
mod distribution;
#[path = "../common/dtype.rs"]
mod dtype;
#[path = "../common/evaluation.rs"]
mod evaluation;
#[path = "../common/image_check.rs"]
mod image_check;
#[path = "../common/note.rs"]
mod note;
#[path = "../common/pipeline.rs"]
mod pipeline;
mod predictions;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/sets.rs"]
mod sets;
mod sweep;
#[path = "../common/table.rs"]
mod table;
#[path = "../common/threads.rs"]
mod threads;
mod threshold;
#[path = "../common/trained_data.rs"]
mod trained_data;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{ArgGroup, Parser};
use gaternet::core::checkpoint::Checkpoint;
use gaternet::core::data::Dataset;
use gaternet::models::{DType, Model};
use serde_json::{Value, json};

use crate::command_line::parse;
use crate::device::DeviceName;
use crate::distribution::{Distribution, Image, print_classes};
use crate::dtype::DTypeName;
use crate::evaluation::{Evaluation, TestSet, dead_warning, evaluate};
use crate::image_check::{Skipped, checked};
use crate::note::note;
use crate::predictions::write_predictions;
use crate::report::{exit_code, say};
use crate::sets::Sets;
use crate::sweep::{Speed, sweep};
use crate::table::{millions, percent, print_table};
use crate::threads::use_threads;
use crate::threshold::Thresholds;
use crate::trained_data::trained_data;

/// Measures a model saved by train_cifar on a test set: accuracy, cross-entropy, open gates, MACs per
/// image with and without gating, images per second.
///
/// --budget moves the threshold of all gates, without training, so that the images of a part of the training
/// set keep to a budget. --sweep evaluates the model at budgets from all gates closed to all open.
#[derive(Debug, Parser)]
#[command(name = "evaluate", verbatim_doc_comment)]
#[command(group = ArgGroup::new("thresholds").args(["budget", "sweep"]))]
struct Args {
    /// The model, OUT/model.safetensors of train_cifar
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    /// Folder that holds cifar-10-batches-bin/ or cifar-100-binary/, or is one of them; or that
    /// holds image files (.jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp) as train/CLASS/* and
    /// val/CLASS/* (or test/CLASS/*), of which train/ is needed for --budget and --sweep only
    /// [default: none, the built-in test set that the model was trained with]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    data: Option<PathBuf>,

    /// Of data that has the classes of the model in another order, go by their names
    #[arg(long)]
    classes_by_name: bool,

    /// Leave out image files that cannot be read, and list them
    #[arg(long, requires = "data")]
    skip_bad: bool,

    /// Pixels of the middle of an image that the model sees [default: those it was trained with]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,

    /// Pixels of the shorter side of an image before its middle is cut out
    /// [default: as trained; 8/7 of --image-size if that is given]
    #[arg(long, value_name = "PIXELS", verbatim_doc_comment)]
    resize: Option<usize>,

    /// Print one JSON object instead of a table; shares are of 1, MACs are counts per image
    #[arg(long, conflicts_with = "sweep")]
    json: bool,

    /// Also accuracy and MACs of the images of each class
    #[arg(long, conflicts_with = "sweep")]
    per_class: bool,

    /// Also what the model says of each image, a JSON object a line: its file or number, the names
    /// of its class and of the predicted one, and the MACs that ran
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "sweep", verbatim_doc_comment)]
    predictions: Option<PathBuf>,

    /// Gates as open as a budget allows: MACs of an image over those of the plain backbone, gater included
    #[arg(long, value_name = "SHARE")]
    budget: Option<f64>,

    /// Write the model with the gates of --budget
    #[arg(long, value_name = "FILE", requires = "budget")]
    save: Option<PathBuf>,

    /// Accuracy, MACs and images/s at budgets from all gates closed to all open, a JSON object a line;
    /// plot_sweep draws them
    #[arg(long, value_name = "FILE.jsonl", verbatim_doc_comment)]
    sweep: Option<PathBuf>,

    /// Training images by which thresholds are chosen, the first of the set
    #[arg(long, value_name = "IMAGES", default_value_t = 2000, requires = "thresholds")]
    calibration: usize,

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
    let args: Args = parse();
    ensure!(args.batch_size > 0, "--batch-size 0: must be at least 1");
    ensure!(args.calibration > 0, "--calibration 0: must be at least 1");
    let device = args.device.open()?;
    use_threads(args.threads)?;
    let model = Model::load(&args.checkpoint)?;
    let moves_thresholds = match &model {
        Model::Plain(_) if args.budget.is_some() => {
            bail!("--budget: {} has no gates", args.checkpoint.display())
        }
        Model::Plain(_) => false,
        Model::Gated(_) => args.budget.is_some() || args.sweep.is_some(),
    };
    let train_images = if moves_thresholds { args.calibration } else { 0 };
    let augment = pipeline::of(&args.checkpoint, args.image_size, args.resize)?;
    let data =
        trained_data(&args.checkpoint, args.data.as_deref(), train_images, args.classes_by_name)?;
    let name = data.name().to_owned();
    let Sets { images: [train, images] } = data;
    let ([train, images], skipped) = match moves_thresholds {
        true => checked([train, images], args.skip_bad)?,
        false => {
            let ([images], skipped) = checked([images], args.skip_bad)?;
            ([train, images], skipped)
        }
    };
    let test = TestSet::new(images, augment);
    let run = (args.batch_size, DType::from(args.dtype));
    let thresholds = match &model {
        Model::Gated(model) if moves_thresholds => {
            Some(Thresholds::new(model, &train, &test.augment, train_images, run)?)
        }
        _ => None,
    };
    if let Some(out) = &args.sweep {
        return sweep(&model, thresholds.as_ref(), &test, run, &device, out);
    }
    let threshold = match (args.budget, &thresholds) {
        (Some(budget), Some(thresholds)) => {
            let threshold = thresholds.for_budget(budget)?;
            thresholds.set(threshold)?;
            Some(threshold)
        }
        _ => None,
    };
    let (mut images, mut speed) = (Vec::new(), Speed::default());
    let dtype = run.1;
    let evaluation = evaluate(&model, &test, run, &device, |labels, logits, macs, time| {
        images.extend(Image::of_batch(labels, logits, macs));
        speed.add(labels.len(), time);
        Ok(())
    })?;
    if let Some(path) = &args.save {
        model.save(path, &Checkpoint::load(&args.checkpoint)?.metadata)?;
    }
    if let Some(path) = &args.predictions {
        write_predictions(path, &images, &test.images)?;
    }
    evaluation.dead_layers.iter().for_each(|layer| note(dead_warning(layer)));
    let result = Results {
        data: &name,
        skipped,
        dtype,
        classes: args.per_class.then(|| test.images.classes()),
        threshold,
        macs: Distribution::new(&images, None),
        images,
        evaluation,
        images_per_second: speed.images_per_second(),
    };
    match args.json {
        true => say!("{}", result.json()?)?,
        false => result.print()?,
    }
    Ok(())
}

/// What is printed.
struct Results<'a> {
    data: &'a str,
    /// Image files that were left out.
    skipped: Vec<Skipped>,
    dtype: DType,
    images: Vec<Image>,
    /// Whose images are shown apart.
    classes: Option<&'a [String]>,
    /// Of the gates, where there is a budget.
    threshold: Option<f32>,
    evaluation: Evaluation,
    macs: Distribution,
    images_per_second: f64,
}

impl Results<'_> {
    fn json(&self) -> Result<Value> {
        let Evaluation { accuracy, loss, gate_density, cost, densities, dead_layers } =
            &self.evaluation;
        let Distribution { sd, min, max, .. } = &self.macs;
        let mut object = json!({
            "data": self.data,
            "images": self.images.len(),
            "dtype": self.dtype.to_string(),
            "accuracy": accuracy,
            "loss": loss,
            "gate_density": gate_density,
            "layer_densities": densities,
            "macs_plain": cost.backbone,
            "macs_gated": cost.executed + cost.gater,
            "macs_gater": cost.gater,
            "macs_ratio": cost.ratio(),
            "macs_sd": sd,
            "macs_min": min,
            "macs_max": max,
            "dead_layers": dead_layers,
            "images_per_second": self.images_per_second,
        });
        if let Some(threshold) = self.threshold {
            object["gate_threshold"] = json!(threshold);
        }
        if !self.skipped.is_empty() {
            let skipped = self.skipped.iter();
            let skipped = skipped.map(|Skipped { path, reason }| {
                json!({ "path": path.display().to_string(), "reason": reason })
            });
            object["skipped"] = skipped.collect();
        }
        if let Some(classes) = self.classes {
            let class = |(number, name): (usize, &String)| {
                let mut of = serde_json::to_value(Distribution::new(&self.images, Some(number)))?;
                of["class"] = json!(name);
                Ok(of)
            };
            object["classes"] = classes.iter().enumerate().map(class).collect::<Result<_>>()?;
        }
        Ok(object)
    }

    fn print(&self) -> Result<()> {
        let Evaluation { accuracy, loss, gate_density, cost, .. } = &self.evaluation;
        let gated = cost.executed + cost.gater;
        let mut rows = vec![
            ("data", format!("{}, {} test images", self.data, self.images.len())),
            ("dtype", self.dtype.to_string()),
            ("accuracy", percent(*accuracy)),
            ("loss", format!("{loss:.4}")),
            ("gates open", percent(*gate_density)),
            ("MACs per image, plain backbone", millions(cost.backbone)),
            ("MACs per image, gated", format!("{} ({:.3}x)", millions(gated), cost.ratio())),
            ("  of which gater", millions(cost.gater)),
            ("  standard deviation (range)", self.macs.spread()),
            ("speed", format!("{:.0} images/s", self.images_per_second)),
        ];
        if let Some(threshold) = self.threshold {
            rows.insert(4, ("gate threshold", format!("{threshold:.4}")));
        }
        print_table(&rows)?;
        if let Some(classes) = self.classes {
            print_classes(classes, &self.images)?;
        }
        Ok(())
    }
}
