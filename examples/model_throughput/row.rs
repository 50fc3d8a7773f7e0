//! What is written of a network.

use std::time::Duration;

use anyhow::Result;
use gaternet::cli::dtype::DTypeName;
use gaternet::cli::names::{ModelName, PlacementName};
use gaternet::cli::report::say;
use gaternet::cli::table::rounded;
use gaternet::cli::throughput_network::{Gating, Network};
use gaternet::cli::timing::median_seconds;
use gaternet::models::DType;
use serde::Serialize;

use crate::args::Args;

/// A line of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    model: String,
    gating: String,
    placement: String,
    filters_per_gate: usize,
    gater_depth: usize,
    gater_pool: usize,
    density: f64,
    dtype: String,
    batch: usize,
    threads: usize,
    macs_ratio: f64,
    images_per_second: f64,
}

/// A row for each type and way to run the network.
pub(crate) fn measure(
    args: &Args,
    network: &Network,
    (model, placement): (ModelName, PlacementName),
    density: f64,
    batch: usize,
) -> Result<Vec<Row>> {
    let batches = network.draw(batch, density)?;
    let of = |dtype: DTypeName| args.gating.iter().map(move |gating| (*gating, dtype.into()));
    let ways: Vec<(Gating, DType)> = args.dtype.iter().copied().flat_map(of).collect();
    let rounds = ways.iter().map(|&(gating, dtype)| network.round(gating, dtype, &batches));
    let mut rounds: Vec<_> = rounds.collect::<Result<_>>()?;
    let seconds = median_seconds(&mut rounds, Duration::from_millis(args.run))?;
    let row = |(&(gating, dtype), seconds): (&(Gating, DType), f64)| {
        let (placement, density) = match gating {
            Gating::Dense => ("none".to_owned(), 1.0),
            Gating::Masked | Gating::Skipped => (placement.to_string(), density),
        };
        Ok(Row {
            model: model.to_string(),
            gating: gating.to_string(),
            placement,
            filters_per_gate: args.filters_per_gate,
            gater_depth: args.gater_depth,
            gater_pool: args.gater_pool,
            density,
            dtype: dtype.to_string(),
            batch,
            threads: rayon::current_num_threads(),
            macs_ratio: rounded(network.macs_ratio(gating, &batches)?, 1e4),
            images_per_second: rounded((batches.len() * batch) as f64 / seconds, 10.0),
        })
    };
    ways.iter().zip(seconds).map(row).collect()
}

/// Writes a line.
pub(crate) fn print(args: &Args, row: &Row) -> Result<()> {
    if args.json {
        return Ok(say!("{}", serde_json::to_string(row)?)?);
    }
    let Row { model, gating, placement, density, dtype, batch, .. } = row;
    say!(
        "{model:<9} {gating:<7} {placement:<15} {density:>7} {dtype:<5} {batch:>5} {:>5.2}x {:>9.1}",
        row.macs_ratio,
        row.images_per_second
    )?;
    Ok(())
}
