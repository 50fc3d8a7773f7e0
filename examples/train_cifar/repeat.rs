//! `--repeat`: one recipe, several seeds.

use std::fs;

use anyhow::{Context, Result};
use gaternet::kernels::Device;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::images;
use crate::recipe::Recipe;
use crate::run_folder::{Existing, Metrics, RunFolder, check, remove};
use crate::table::{percent, print_table};
use crate::training::{Budget, Training};

/// The run of `args` on `device`, or one for each seed.
pub(crate) fn run(args: &Args, device: &Device) -> Result<()> {
    let existing = match (args.run.overwrite, args.run.resume) {
        (true, _) => Existing::Replace,
        (_, true) => Existing::Resume,
        _ => Existing::Refuse,
    };
    let out = args.out_dir();
    let seeds: Vec<u64> = match args.run.repeat {
        None => vec![args.run.seed],
        Some(seeds) => (0..seeds as u64).map(|i| args.run.seed.wrapping_add(i)).collect(),
    };
    let folder = |seed: u64| match args.run.repeat {
        None => RunFolder::new(&out),
        Some(_) => RunFolder::new(&out.join(format!("seed{seed}"))),
    };
    let summary = args.run.repeat.map(|_| out.join("summary.json"));
    // Before the first run, which may take days.
    seeds.iter().try_for_each(|seed| folder(*seed).check(existing))?;
    if let Some(path) = &summary {
        check(path, existing)?;
    }
    let mut sets = images::open(&args.data, args.run.seed)?;
    let mut budget = Budget(args.run.stop_after);
    let mut results = Vec::new();
    for &seed in &seeds {
        let mut args = args.clone();
        args.run.seed = seed;
        if args.data.built_in() && !results.is_empty() {
            sets = images::open(&args.data, seed)?;
        }
        let training = Training::new(Recipe::new(&args)?, &sets, folder(seed), existing, device)?;
        if args.run.dry_run {
            return training.describe();
        }
        if let Some(path) = &summary {
            // It will not be that of these runs.
            remove(path)?;
        }
        let Some(metrics) = training.run(&mut budget)? else {
            eprintln!("stopped before the end, as --stop-after says; --resume goes on");
            return Ok(());
        };
        results.push((seed, metrics));
    }
    if let Some(path) = summary {
        let text = summarise(&results).to_string() + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Title, key in `summary.json`, value, and how it is printed.
type Column = (&'static str, &'static str, fn(&Metrics) -> f64, fn(f64) -> String);

/// Prints what the seeds have in common, and returns it for `summary.json`.
fn summarise(results: &[(u64, Metrics)]) -> Value {
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
    println!();
    print_table(&rows);
    Value::Object(summary)
}

/// The latter with n - 1 in the denominator; one value has none.
fn mean_and_deviation(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (n > 1.0).then(|| (squares / (n - 1.0)).sqrt()))
}
