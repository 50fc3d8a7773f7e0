//! Predicted times on this machine.

use std::time::Instant;

use anyhow::Result;
use gaternet::cli::note::note;
use gaternet::cli::report::{OutputError, say};
use gaternet::models::{DType, LatencyModel, Model, PlanOptions};
use serde::Serialize;

/// Images of a pass.
const BATCHES: [usize; 2] = [1, 64];

/// The prediction for a batch.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    batch: usize,
    /// Share of open gates in each layer; none of a network without gates.
    density: Option<f64>,
    milliseconds: f64,
    images_per_second: f64,
}

/// For each batch size, at each density.
pub(crate) fn latencies(
    model: &Model,
    size: [usize; 2],
    dtype: DType,
    densities: &[f64],
) -> Result<Vec<Latency>> {
    let mut rows = Vec::new();
    let start = Instant::now();
    for batch in BATCHES {
        let options = PlanOptions { size, batch, dtype, ..PlanOptions::default() };
        let latency = LatencyModel::measure(model, options)?;
        let mut row = |density: Option<f64>, layers: usize| -> Result<()> {
            let seconds = latency.seconds(&vec![density.unwrap_or(1.0); layers])?;
            let images_per_second = batch as f64 / seconds;
            rows.push(Latency { batch, density, milliseconds: 1e3 * seconds, images_per_second });
            Ok(())
        };
        match model {
            Model::Plain(_) => row(None, 0)?,
            Model::Gated(model) => {
                let layers = model.plan().layers().len();
                densities.iter().try_for_each(|density| row(Some(*density), layers))?;
            }
        }
    }
    note(format_args!("calibrated in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(rows)
}

pub(crate) fn print(rows: &[Latency]) -> Result<(), OutputError> {
    let threads = rayon::current_num_threads();
    say!("\npredicted on this machine, {threads} threads")?;
    say!("{:>7} {:>7} {:>12} {:>10}", "density", "batch", "ms", "images/s")?;
    for Latency { batch, density, milliseconds, images_per_second } in rows {
        let density = density.map_or("plain".to_owned(), |density| density.to_string());
        say!("{density:>7} {batch:>7} {milliseconds:>12.3} {images_per_second:>10.0}")?;
    }
    Ok(())
}
