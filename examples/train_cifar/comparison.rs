//! A gated network beside the plain one of the same recipe.

use std::time::Duration;

use anyhow::{Context, Result};
use gaternet::cli::pipeline;
use gaternet::cli::report::say;
use gaternet::cli::table::{millions, percent};
use gaternet::cli::timing::{RUNS, median_seconds};
use gaternet::core::data::{Dataset, Loader, LoaderConfig};
use gaternet::models::train::{Data, Metrics, RunFolder};
use gaternet::models::{InferencePlan, Model, PlanOptions};

/// Images of a pass whose time is measured.
const BATCH: usize = 64;

/// Of each of the passes that are compared.
const RUN: Duration = Duration::from_millis(100);

/// A trained network.
struct Trained {
    last: Metrics,
    /// Executed for an image, gater included.
    macs: f64,
    plan: InferencePlan,
}

/// Prints what two complete runs, gated and plain, have come to, and what can be done next.
pub(crate) fn print([gated, plain]: [&RunFolder; 2], data: &Data) -> Result<()> {
    let augment = pipeline::of(&gated.model_path(), None, None)?;
    let test = &data.test;
    let batch_size = BATCH.min(test.len());
    let config = LoaderConfig { batch_size, drop_last: false, shuffle: false, seed: 0, augment };
    let size = config.augment.output_size(test)?;
    let first = Loader::new(test.clone(), config)?.epoch(0).next().transpose()?;
    let images = first.context("the test set has no image")?.images;
    let options = PlanOptions { size, batch: batch_size, ..PlanOptions::default() };
    let [mut gated_run, mut plain_run] =
        [trained(gated, size, options)?, trained(plain, size, options)?];
    let mut calls = [&mut gated_run, &mut plain_run].map(|run| {
        let (plan, images) = (&mut run.plan, images.data());
        let mut logits = vec![0.0; batch_size * plan.classes()];
        move || -> Result<()> { Ok(plan.run(images, &mut logits)?) }
    });
    // From outside the pool every pass would wait for a worker to wake up.
    let seconds = rayon::scope(|_| median_seconds(&mut calls, RUN))?;
    let [gated_speed, plain_speed] = [seconds[0], seconds[1]].map(|time| batch_size as f64 / time);
    drop(calls);

    let row = |name: &str, plain: String, gated: String, ratio: String| {
        say!("{name:<36} {plain:>10} {gated:>10}  {ratio}")
    };
    let ratio = |gated: f64, plain: f64| format!("{:.2}x", gated / plain);
    say!("")?;
    row("", "plain".into(), "gated".into(), String::new())?;
    let [accuracies, macs] = [
        [&plain_run, &gated_run].map(|run| run.last.test_accuracy),
        [plain_run.macs, gated_run.macs],
    ];
    let points = 100.0 * (accuracies[1] - accuracies[0]);
    row("test accuracy", percent(accuracies[0]), percent(accuracies[1]), format!("{points:+.2}"))?;
    row(
        "MACs per image, gater included",
        millions(macs[0]),
        millions(macs[1]),
        ratio(macs[1], macs[0]),
    )?;
    let name = format!("images/s of the plans, batch {batch_size}");
    let speed = |speed: f64| format!("{speed:.0}");
    row(&name, speed(plain_speed), speed(gated_speed), ratio(gated_speed, plain_speed))?;
    let (out, program) = (gated.dir().display(), "cargo run --release --example");
    say!("(median of {RUNS} passes in turns, on this machine)")?;
    say!("")?;
    say!("next:")?;
    say!("  {program} evaluate -- --checkpoint {out} --per-class")?;
    say!("  {program} evaluate -- --checkpoint {out} --sweep {out}/sweep.jsonl")?;
    say!("  {program} train_cifar -- --config recipes/budget-resnet56.toml --data CIFAR_FOLDER")?;
    Ok(())
}

fn trained(folder: &RunFolder, size: [usize; 2], options: PlanOptions) -> Result<Trained> {
    let model = Model::load(folder.model_path())?;
    let last = Metrics::last(folder.metrics_path())?;
    let macs = last.macs_ratio * model.cost(size, None)?.backbone;
    let plan = InferencePlan::new(&model, options)?;
    Ok(Trained { last, macs, plan })
}
