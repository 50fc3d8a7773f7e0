//! From measurements to relative times.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The part of a line of `conv_throughput --json` that is drawn.
#[derive(Debug, Deserialize)]
struct Row {
    op: String,
    ci: usize,
    co: usize,
    h: usize,
    k: usize,
    batch: usize,
    threads: usize,
    density: f64,
    gating: String,
    dtype: String,
    ms: f64,
}

impl Row {
    /// All that the rows of a panel have in common.
    fn panel(&self) -> String {
        let Row { op, ci, co, h, k, batch, threads, dtype, .. } = self;
        let threads = match threads {
            1 => "1 thread".to_owned(),
            more => format!("{more} threads"),
        };
        let op = if op == "forward" { String::new() } else { format!("{op} ") };
        format!("{op}{ci}x{co}@{h}k{k}, batch {batch}, {threads}, {dtype}")
    }
}

/// The measurements of one layer.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// One for each gating, in the order of [`GATINGS`].
    pub(crate) lines: [Vec<Point>; GATINGS.len()],
}

/// The gatings, each a line.
pub(crate) const GATINGS: [&str; 3] = ["output", "input", "both"];

/// Density, and the time over that at density 1.
type Point = [f64; 2];

/// The panels of `text`, JSON objects one a line, in the order in which they first occur.
pub(crate) fn panels(text: &str) -> Result<Vec<Panel>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let rows = lines
        .map(|(at, line)| {
            serde_json::from_str(line).with_context(|| format!("line {}: {line}", at + 1))
        })
        .collect::<Result<Vec<Row>>>()?;
    ensure!(!rows.is_empty(), "there are no measurements");
    let mut titles = Vec::new();
    for row in &rows {
        let title = row.panel();
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles.into_iter().map(|title| panel(&rows, title)).collect()
}

fn panel(rows: &[Row], title: String) -> Result<Panel> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.panel() == title).collect();
    let median = |gating: &str, density: f64| {
        let same = rows.iter().filter(|row| row.gating == gating && row.density == density);
        let mut times: Vec<f64> = same.map(|row| row.ms).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    };
    let all_active =
        median("none", 1.0).with_context(|| format!("{title}: no measurement at density 1"))?;
    let lines = GATINGS.map(|gating| {
        let mut densities: Vec<f64> =
            rows.iter().filter(|row| row.gating == gating).map(|row| row.density).collect();
        densities.sort_by(f64::total_cmp);
        densities.dedup();
        let point = |density| Some([density, median(gating, density)? / all_active]);
        let mut points: Vec<Point> = densities.into_iter().filter_map(point).collect();
        if !points.is_empty() {
            points.push([1.0; 2]);
        }
        points
    });
    Ok(Panel { title, lines })
}
