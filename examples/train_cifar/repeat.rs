//! `--repeat`: one recipe, several seeds. `--compare`: with and without gates.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use gaternet::kernels::Device;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::comparison;
use crate::image_check::checked;
use crate::images;
use crate::interrupt::Interrupt;
use crate::note::note;
use crate::options::Options;
use crate::recipe::Recipe;
use crate::report::say;
use crate::run_folder::{Existing, Metrics, RunFolder, check, remove};
use crate::table::{percent, print_table};
use crate::training::{Budget, Place, Training};

/// The run of `args` on `device`, or one for each seed, or the gated one and the plain one.
pub(crate) fn run(args: &Args, options: &Options, device: &Device) -> Result<()> {
    let existing = match (args.run.overwrite, args.run.resume) {
        (true, _) => Existing::Replace,
        (_, true) => Existing::Resume,
        _ => Existing::Refuse,
    };
    let out = args.out_dir();
    let jobs = jobs(args, options, &out);
    let summary = args.run.repeat.map(|_| out.join("summary.json"));
    // Before the first run, which may take days.
    jobs.iter().try_for_each(|job| job.folder.check(existing))?;
    if let Some(path) = &summary {
        check(path, existing)?;
    }
    let mut sets = images::open(&args.data, args.run.seed)?;
    let skipped;
    (sets.images, skipped) = checked(sets.images, args.data.skip_bad)?;
    let interrupt = match args.run.dry_run {
        true => Interrupt::default(),
        false => Interrupt::catch()?,
    };
    let mut budget = Budget(args.run.stop_after);
    let mut results = Vec::new();
    for job in &jobs {
        let seed = job.args.run.seed;
        if args.data.built_in() && seed != args.run.seed {
            sets = images::open(&args.data, seed)?;
        }
        let recipe = Recipe::new(&job.args, &job.options)?;
        let dry_run = args.run.dry_run;
        let folder = job.folder.clone();
        let place = Place { folder, out: &out, existing, device, dry_run };
        let mut training = Training::new(recipe, &sets, skipped.clone(), place)?;
        if dry_run {
            return training.describe();
        }
        if let Some(path) = &summary {
            // It will not be that of these runs.
            remove(path)?;
        }
        let Some(metrics) = training.run(&mut budget, &interrupt)? else {
            note(format_args!("stopped before the end, as --stop-after says; --resume goes on"));
            return Ok(());
        };
        results.push((seed, metrics));
    }
    if let Some(path) = summary {
        let text = summarise(&results)?.to_string() + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let (true, [gated, plain]) = (args.run.compare, &jobs[..]) {
        comparison::print([&gated.folder, &plain.folder], &sets)?;
    }
    Ok(())
}

/// One run of several.
struct Job {
    args: Args,
    options: Options,
    folder: RunFolder,
}

fn jobs(args: &Args, options: &Options, out: &Path) -> Vec<Job> {
    let job = |args: Args, options: Options, folder: &Path| Job {
        args,
        options,
        folder: RunFolder::new(folder),
    };
    if let Some(seeds) = args.run.repeat {
        let seeds = (0..seeds as u64).map(|i| args.run.seed.wrapping_add(i));
        let of_seed = |seed| {
            let mut args = args.clone();
            args.run.seed = seed;
            job(args, options.clone(), &out.join(format!("seed{seed}")))
        };
        return seeds.map(of_seed).collect();
    }
    let mut jobs = vec![job(args.clone(), options.clone(), out)];
    if args.run.compare {
        let mut plain = args.clone();
        plain.backbone.dense = true;
        jobs.push(job(plain, options.plain(), &out.join("plain")));
    }
    jobs
}

/// Title, key in `summary.json`, value, and how it is printed.
type Column = (&'static str, &'static str, fn(&Metrics) -> f64, fn(f64) -> String);

/// Prints what the seeds have in common, and returns it for `summary.json`.
fn summarise(results: &[(u64, Metrics)]) -> Result<Value> {
    let columns: [Column; 3] = [
        ("test accuracy", "test_accuracy", |metrics| metrics.test_accuracy, percent),
        ("gates open", "gate_density", |metrics| metrics.gate_density, percent),
        (
            "MACs, gater included",
            "macs_ratio",
            |metrics| metrics.macs_ratio,
            |x| format!("{x:.3}x"),
        ),
    ];
    let mut rows = Vec::new();
    let mut summary = Map::new();
    let seeds: Vec<u64> = results.iter().map(|(seed, _)| *seed).collect();
    summary.insert("seeds".to_owned(), json!(seeds));
    for (title, key, value, text) in columns {
        let values: Vec<f64> = results.iter().map(|(_, metrics)| value(metrics)).collect();
        let (mean, deviation) = mean_and_deviation(&values);
        let spread = deviation.map_or("one seed".to_owned(), |deviation| {
            format!("standard deviation {} of {} seeds", text(deviation), values.len())
        });
        rows.push((title, format!("mean {}, {spread}", text(mean))));
        summary.insert(
            key.to_owned(),
            json!({ "mean": mean, "standard_deviation": deviation, "values": values }),
        );
    }
    say!("")?;
    print_table(&rows)?;
    Ok(Value::Object(summary))
}

/// The latter with n - 1 in the denominator; one value has none.
fn mean_and_deviation(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (n > 1.0).then(|| (squares / (n - 1.0)).sqrt()))
}
