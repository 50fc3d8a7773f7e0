//! A gated network without its gates, as a calibration settles them.

use anyhow::Result;
use gaternet::cli::image_check::checked;
use gaternet::cli::pipeline;
use gaternet::cli::sets::Sets;
use gaternet::cli::table::{millions, percent, print_table};
use gaternet::cli::trained_data::{for_first_images, trained_data};
use gaternet::core::data::{Augment, Dataset, ImageSource};
use gaternet::core::nn::Module;
use gaternet::models::{Calibration, GatedNet, InferencePlan, Model, PlanOptions};

use crate::args::Args;

/// Images of a pass.
const BATCH: usize = 128;

/// The pruned subnetwork of `model` by the first `images` training images, and a table of what is
/// left.
pub(crate) fn pruned_subnetwork(args: &Args, model: &GatedNet, images: usize) -> Result<Model> {
    let data = trained_data(&args.checkpoint, args.data.as_deref(), images, args.classes_by_name)?;
    let name = data.name().to_owned();
    let Sets { images: [train, _] } = data;
    let ([train], _) = checked([train], args.skip_bad)?;
    let augment = pipeline::of(&args.checkpoint, None, None)?;
    let calibration = calibrate(model, &train, &augment, images)?;
    let pruned = model.pruned_subnetwork(&calibration, args.min_open)?;
    let counts = calibration.opened();
    let gates = |settled: fn(usize, usize) -> bool| {
        counts.iter().filter(|opened| settled(**opened, images)).count()
    };
    let (closed, open) = (gates(|opened, _| opened == 0), gates(|opened, images| opened == images));
    let least = args.min_open * images as f64;
    let kept = counts.iter().filter(|opened| **opened as f64 > least).count();
    let fraction =
        |gates: usize| format!("{gates} ({})", percent(gates as f64 / counts.len() as f64));
    let (whole, size) = (model.backbone(), augment.output_size(&train)?);
    let of = |part: f64, whole: f64| format!("{} of {}", millions(part), millions(whole));
    let parameters = [pruned.parameter_count(), whole.parameter_count()].map(|count| count as f64);
    let macs = [pruned.macs(size)?, whole.macs(size)?].map(|count| count as f64);
    print_table(&[
        ("calibration", format!("{name}, {images} training images")),
        ("gates", counts.len().to_string()),
        ("  closed for all images", fraction(closed)),
        ("  open for all images", fraction(open)),
        ("  differing", fraction(counts.len() - closed - open)),
        ("filters that are left", fraction(kept)),
        ("parameters of the backbone", of(parameters[0], parameters[1])),
        ("MACs of the backbone", of(macs[0], macs[1])),
    ])?;
    Ok(Model::Plain(pruned.into()))
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
