//! Draws what `evaluate --sweep` measured: accuracy against MACs and against speed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gaternet::cli::chart::{self, Axis, Line, Panel};
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};
use serde::Deserialize;

/// Draws files of evaluate --sweep as an SVG: accuracy against executed MACs and against images a
/// second. Each file is a line, named after it; that of a network without gates is a point.
#[derive(Debug, Parser)]
#[command(name = "plot_sweep", verbatim_doc_comment)]
struct Args {
    /// Output of evaluate --sweep
    #[arg(value_name = "FILE.jsonl", required = true)]
    inputs: Vec<PathBuf>,

    /// The drawing
    #[arg(long, value_name = "FILE.svg")]
    out: PathBuf,

    /// Leave out points of a lower accuracy, in %: there is more room for the others
    #[arg(long, value_name = "ACCURACY", default_value_t = 0.0)]
    from: f64,
}

/// The part of a line of `evaluate --sweep` that is drawn.
#[derive(Debug, Deserialize)]
struct Row {
    accuracy: f64,
    macs: f64,
    images_per_second: f64,
}

/// The rows of a file, by their work.
struct Sweep {
    name: String,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let Args { inputs, out, from } = parse();
    let sweeps = inputs.iter().map(|path| read(path, from)).collect::<Result<Vec<_>>>()?;
    let panels = [
        panel("by work", "million MACs of an image, gater included", &sweeps, |row| row.macs / 1e6),
        panel("by speed", "thousand images/s", &sweeps, |row| row.images_per_second / 1e3),
    ];
    let legend = sweeps.iter().enumerate();
    let legend = legend.map(|(i, sweep)| (Some(i), sweep.name.clone()));
    let svg = chart::draw(&panels, &legend.collect::<Vec<_>>());
    fs::write(&out, svg).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(say!("wrote {}", out.display())?)
}

/// The rows of an accuracy of `from` percent at least.
fn read(path: &Path, from: f64) -> Result<Sweep> {
    let at = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {at}"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut rows = lines
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("{at}: line {}: {line}", number + 1))
        })
        .collect::<Result<Vec<Row>>>()?;
    ensure!(!rows.is_empty(), "{at}: there are no measurements");
    rows.retain(|row| 100.0 * row.accuracy >= from);
    ensure!(!rows.is_empty(), "--from {from}: no accuracy in {at} is as high");
    rows.sort_by(|a, b| a.macs.total_cmp(&b.macs));
    let name = path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
    Ok(Sweep { name, rows })
}

fn panel(title: &str, label: &str, sweeps: &[Sweep], x: fn(&Row) -> f64) -> Panel {
    let lines: Vec<_> = sweeps
        .iter()
        .enumerate()
        .map(|(number, sweep)| {
            let points = sweep.rows.iter().map(|row| [x(row), 100.0 * row.accuracy]).collect();
            Line { points, style: Some(number) }
        })
        .collect();
    let of = |axis: usize| lines.iter().flat_map(|line| &line.points).map(move |p| p[axis]);
    Panel {
        title: title.to_owned(),
        x: Axis::over(label, of(0)),
        y: Axis::over("test accuracy, %", of(1)),
        lines,
    }
}
