//! What is written of a layer.

use std::time::Duration;

use anyhow::Result;
use gaternet::cli::conv_layers::{self, Gating, Layer, LayerRow, Op};
use gaternet::cli::report::{OutputError, say};
use gaternet::kernels::cuda::CudaDevice;
use serde::Serialize;

use crate::args::{Args, Instructions};
use crate::measure::{Convolution, medians};

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Row {
    op: String,
    #[serde(flatten)]
    layer: LayerRow,
    batch: usize,
    device: String,
    density: f64,
    gating: String,
    dtype: &'static str,
    algorithm: String,
    ms: f64,
    gflops: f64,
    ratio: f64,
}

impl Row {
    fn print(&self, layer: Layer) -> Result<(), OutputError> {
        let Row { op, batch, algorithm, gating, density, ms, gflops, ratio, .. } = self;
        let (layer, tflops) = (layer.to_string(), gflops / 1e3);
        say!(
            "{op:<15} {layer:<16} {batch:>5} {algorithm:<9} {gating:<6} {density:>7} {ms:>8.4} \
             {tflops:>7.1} {ratio:>6.3}"
        )
    }
}

/// Nothing gated, then filters and channels, each with the fraction of their gates that are open.
fn cases() -> impl Iterator<Item = (Gating, f64)> {
    conv_layers::cases().filter(|(gating, _)| *gating != Gating::Both)
}

/// Measures all cases of a layer, and writes a line of each.
pub(crate) fn measure_layer(
    args: &Args,
    (device, instructions): (&CudaDevice, Instructions),
    (op, layer): (Op, Layer),
    batch: usize,
) -> Result<()> {
    let dims = layer.dims(batch)?;
    let case =
        |(gating, density)| Convolution::new(device, dims, op, gating, density, args.rotate << 20);
    let convolutions = cases().map(case).collect::<Result<Vec<_>>>()?;
    let seconds = medians(device, &convolutions, Duration::from_millis(args.run))?;
    let operations = 2.0 * dims.macs_per_sample() as f64 * batch as f64;
    for ((gating, density), time) in cases().zip(&seconds) {
        let row = Row {
            op: op.to_string(),
            layer: layer.into(),
            batch,
            device: device.name().to_owned(),
            density,
            gating: gating.to_string(),
            dtype: "bf16",
            algorithm: instructions.to_string(),
            ms: time * 1e3,
            gflops: operations / time / 1e9,
            ratio: time / seconds[0],
        };
        match args.json {
            true => say!("{}", serde_json::to_string(&row)?)?,
            false => row.print(layer)?,
        }
    }
    Ok(())
}
