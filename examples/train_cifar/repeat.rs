//! `--repeat`: one recipe, several seeds. `--compare`: with and without gates.

use std::path::Path;

use anyhow::Result;
use gaternet::cli::note::note;
use gaternet::cli::report::say;
use gaternet::cli::table::{percent, print_table};
use gaternet::kernels::Device;
use gaternet::models::train::{
    Existing, Outcome, Place, RunFolder, Spread, Summary, SummaryFile, Trainer,
};

use crate::advice::{self, Asked};
use crate::args::Args;
use crate::comparison;
use crate::console::Console;
use crate::images;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::recipe;
use crate::run_report::{RunReport, announce, describe, say_how_to_go_on};

/// The run of `args` on `device`, or one for each seed, or the gated one and the plain one.
pub(crate) fn run(args: &Args, options: &Options, device: &Device) -> Result<()> {
    let existing = match (args.run.overwrite, args.run.resume) {
        (true, _) => Existing::Replace,
        (_, true) => Existing::Resume,
        _ => Existing::Refuse,
    };
    let out = args.out_dir();
    let jobs = jobs(args, options, &out);
    let summary = args.run.repeat.map(|_| SummaryFile::new(&out));
    // Before the first run, which may take days.
    jobs.iter().try_for_each(|job| job.folder.check(existing)).map_err(advice::of_folder)?;
    if let Some(summary) = &summary {
        summary.check(existing).map_err(advice::of_folder)?;
    }
    let mut data = images::open(&args.data, args.run.seed)?;
    let interrupt = match args.run.dry_run {
        true => Interrupt::default(),
        false => Interrupt::catch()?,
    };
    let mut console = Console::new(interrupt.clone());
    let mut results = Vec::new();
    for job in &jobs {
        let seed = job.args.run.seed;
        if args.data.built_in() && seed != args.run.seed {
            data = images::open(&args.data, seed)?;
        }
        let recipe = recipe::of(&job.args)?;
        let by_options = !job.options.is_empty();
        let asked = Asked { recipe: &recipe, by_options };
        let advised = |error| advice::of_run(error, &asked);
        let place = Place {
            folder: job.folder.clone(),
            existing,
            device: device.clone(),
            options: job.options.words().to_vec(),
            dry_run: args.run.dry_run,
        };
        let trainer = Trainer::new(recipe.clone(), &data, place).map_err(advised)?;
        if args.run.dry_run {
            return describe(&trainer);
        }
        if let Some(summary) = &summary {
            // It will not be that of these runs.
            summary.remove()?;
        }
        announce(&trainer);
        let (report, steps) = (RunReport::new(&trainer)?, trainer.steps_per_epoch());
        let left = args.run.stop_after.unwrap_or(usize::MAX) - console.epochs_done();
        match trainer.run_epochs(left, &mut console).map_err(advised)? {
            Outcome::Complete(run) => {
                let Some(last) = run.epochs.last() else { continue };
                report.print(&run, last)?;
                results.push((seed, last.clone()));
            }
            Outcome::Paused(_) => {
                note("stopped before the end, as --stop-after says; --resume goes on");
                return Ok(());
            }
            Outcome::Stopped(position) => {
                say_how_to_go_on(position, steps, &out);
                return interrupt.end();
            }
        }
    }
    if let Some(file) = summary {
        let summary = Summary::new(&results);
        print_summary(&summary)?;
        file.write(&summary)?;
    }
    if let (true, [gated, plain]) = (args.run.compare, &jobs[..]) {
        comparison::print([&gated.folder, &plain.folder], &data)?;
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

/// Prints what the seeds have in common.
fn print_summary(summary: &Summary) -> Result<()> {
    let row = |title: &'static str, spread: &Spread, text: fn(f64) -> String| {
        let deviation = spread.standard_deviation.map_or("one seed".to_owned(), |deviation| {
            let seeds = spread.values.len();
            format!("standard deviation {} of {seeds} seeds", text(deviation))
        });
        (title, format!("mean {}, {deviation}", text(spread.mean)))
    };
    say!("")?;
    print_table(&[
        row("test accuracy", &summary.test_accuracy, percent),
        row("gates open", &summary.gate_density, percent),
        row("MACs, gater included", &summary.macs_ratio, |x| format!("{x:.3}x")),
    ])?;
    Ok(())
}
