//! What is written of a layer.

use std::time::Duration;

use anyhow::Result;
use gaternet::cli::conv_layers::{Gates, Layer, LayerRow, Op, cases};
use gaternet::cli::report::{OutputError, say};
use gaternet::cli::table::rounded;
use gaternet::core::Ctx;
use gaternet::kernels::DType;
use serde::Serialize;

use crate::args::Args;
use crate::measure::Convolution;

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Row {
    op: String,
    #[serde(flatten)]
    layer: LayerRow,
    batch: usize,
    threads: usize,
    density: f64,
    gating: String,
    dtype: String,
    algorithm: String,
    ms: f64,
    gflops: f64,
}

impl Row {
    /// `ratio` is of the time to that with all filters active.
    fn print(&self, layer: &str, ratio: f64) -> Result<(), OutputError> {
        let Row { op, batch, density, gating, dtype, algorithm, ms, gflops, .. } = self;
        say!(
            "{op:<15} {layer:<13} {batch:>5} {gating:<6} {density:>7} {dtype:<5} {algorithm:<9} \
             {ms:>10.4} {gflops:>8.1} {ratio:>6.3}"
        )
    }
}

/// Measures all cases of a layer, and writes a line of each.
pub(crate) fn measure_layer(
    args: &Args,
    what: (Op, DType),
    layer: Layer,
    batch: usize,
) -> Result<()> {
    let mut convolution = Convolution::new(layer, batch, what, args.rotate << 20)?;
    let (op, dtype) = what;
    let mut random = Ctx::train(1);
    let gates: Vec<_> = cases()
        .map(|(gating, density)| Gates::draw(layer, batch, gating, density, random.rng()))
        .collect();
    let seconds = convolution.seconds(&gates, Duration::from_millis(args.run))?;
    let operations = 2.0 * layer.dims(batch)?.macs_per_sample() as f64 * batch as f64;
    for ((gating, density), time) in cases().zip(&seconds) {
        let row = Row {
            op: op.to_string(),
            layer: layer.into(),
            batch,
            threads: rayon::current_num_threads(),
            density,
            gating: gating.to_string(),
            dtype: dtype.to_string(),
            algorithm: convolution.algorithm(gating).to_string(),
            ms: rounded(1e3 * time, 1e5),
            gflops: rounded(operations / time / 1e9, 10.0),
        };
        match args.json {
            true => say!("{}", serde_json::to_string(&row)?)?,
            false => row.print(&layer.to_string(), time / seconds[0])?,
        }
    }
    Ok(())
}
