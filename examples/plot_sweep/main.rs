//! Draws what `evaluate --sweep` measured: accuracy against MACs and against speed.

#[path = "../common/chart.rs"]
mod chart;
#[path = "../common/command_line.rs"]
mod command_line;
#[path = "../common/note.rs"]
mod note;
#[path = "../common/report.rs"]
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Deserialize;

use crate::chart::{Axis, Line, Panel};
use crate::command_line::parse;
use crate::report::{exit_code, say};

/// Draws files of evaluate --sweep as an SVG: accuracy against executed MACs and against images a second. Each
/// file is a line, named after it; that of a network without gates is a point.
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
        x: Axis { label: label.to_owned(), ticks: ticks(of(0)) },
        y: Axis { label: "test accuracy, %".to_owned(), ticks: ticks(of(1)) },
        lines,
    }
}

/// Round numbers, four to nine, from at most the least to at least the largest value.
fn ticks(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(f64::NEG_INFINITY, f64::max).max(least + 1e-9);
    let decade = 10_f64.powf((most - least).log10().floor());
    let step = [0.2, 0.25, 0.5, 1.0].map(|part| part * decade);
    let step = step.into_iter().find(|step| (most - least) / step <= 6.0).unwrap_or(2.0 * decade);
    let (first, last) = ((least / step).floor() as i64, (most / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|tick| tick as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_the_values() {
        assert_eq!(ticks([12.0, 61.0].into_iter()), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
        assert_eq!(ticks([1.0, 3.0].into_iter()), [1.0, 1.5, 2.0, 2.5, 3.0]);
        for values in [[3.0, 3.0], [0.0, 0.0], [84.1, 85.3], [999.0, 1001.0], [1.0, 9.9]] {
            let ticks = ticks(values.into_iter());
            assert!((2..=9).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(ticks[0] <= values[0] && ticks[ticks.len() - 1] >= values[1], "{ticks:?}");
        }
    }
}
