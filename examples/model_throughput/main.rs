//! Measures whole networks: images a second of the plain backbone, masked, and with closed filters skipped.

#[path = "../common/command_line.rs"]
mod command_line;
#[path = "../common/dtype.rs"]
mod dtype;
#[path = "../common/names.rs"]
mod names;
mod network;
#[path = "../common/note.rs"]
mod note;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/threads.rs"]
mod threads;
#[path = "../common/timing.rs"]
mod timing;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use gaternet::models::{DType, GatedConfig, GaterConfig};
use serde::Serialize;

use crate::command_line::parse;
use crate::dtype::DTypeName;
use crate::names::{ModelName, PlacementName};
use crate::network::{Gating, Network};
use crate::report::{exit_code, say};
use crate::threads::use_threads;
use crate::timing::median_seconds;

/// Measures whole networks (imagenet-* on 224x224 images, the others on 32x32): the plain backbone, and
/// the gated network with its closed filters computed (masked) or not (skipped).
///
/// All run as inference plans; images are noise and weights random. The gater runs and its time counts,
/// but the gates are drawn, each open with the given probability (the density), anew for every image.
/// Times are medians of 9 runs. macs_ratio is the MACs of an image over those of the plain backbone,
/// gater included; rows without gates have density 1 and placement none.
#[derive(Debug, Parser)]
#[command(name = "model_throughput", verbatim_doc_comment)]
struct Args {
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,

    /// Backbones
    #[arg(long, value_enum, num_args = 1.., default_value = "resnet110")]
    model: Vec<ModelName>,

    /// Ways to run each network
    #[arg(long, value_enum, num_args = 1.., default_values = ["dense", "masked", "skipped"])]
    gating: Vec<Gating>,

    /// Which filters have gates
    #[arg(long, value_enum, num_args = 1.., default_value = "all")]
    placement: Vec<PlacementName>,

    /// Filters that share a gate
    #[arg(long, value_name = "FILTERS", default_value_t = 1)]
    gate_group: usize,

    /// Depth of the ResNet that decides the gates, 6n + 2 layers
    #[arg(long, value_name = "LAYERS", default_value_t = 20)]
    gater_depth: usize,

    /// The gater sees images averaged over squares of this side, 1, 2 or 4
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    gater_pool: usize,

    /// Probabilities of a gate to be open, 0 to 1
    #[arg(long, value_name = "SHARE", num_args = 1.., default_values_t = [0.5])]
    density: Vec<f64>,

    /// Images of a pass
    #[arg(long, value_name = "IMAGES", num_args = 1.., default_values_t = [1, 64])]
    batch: Vec<usize>,

    /// What the convolutions multiply
    #[arg(long, value_enum, num_args = 1.., default_value = "f32")]
    dtype: Vec<DTypeName>,

    /// Worker threads [default: one for each core]; if there are as many as cores, each is bound to one
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Duration of a run, about; it is at least one pass over 64 images
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 200)]
    run: u64,
}

impl Args {
    fn gated_config(&self, model: ModelName, placement: PlacementName) -> GatedConfig {
        let config = GatedConfig::new(model.config(10));
        let gater = GaterConfig { depth: self.gater_depth, pool: self.gater_pool, ..config.gater };
        GatedConfig { placement: placement.into(), group: self.gate_group, gater, ..config }
    }
}

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    gating: String,
    placement: String,
    gate_group: usize,
    gater_depth: usize,
    gater_pool: usize,
    density: f64,
    dtype: String,
    batch: usize,
    threads: usize,
    macs_ratio: f64,
    images_per_second: f64,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    for &batch in &args.batch {
        ensure!((1..=4096).contains(&batch), "--batch {batch}: must be between 1 and 4096");
    }
    for &density in &args.density {
        ensure!((0.0..=1.0).contains(&density), "--density {density}: must be between 0 and 1");
    }
    use_threads(args.threads)?;
    if !args.json {
        say!(
            "{:<9} {:<7} {:<15} {:>7} {:<5} {:>5} {:>6} {:>9}",
            "model",
            "gating",
            "placement",
            "density",
            "dtype",
            "batch",
            "MACs",
            "images/s"
        )?;
    }
    // From outside the pool every pass would wait for a worker to wake up.
    rayon::scope(|_| {
        for &model in &args.model {
            for &placement in &args.placement {
                let network = Network::new(args.gated_config(model, placement))?;
                for &density in &args.density {
                    for &batch in &args.batch {
                        for row in measure(&args, &network, (model, placement), density, batch)? {
                            print(&args, &row)?;
                        }
                    }
                }
            }
        }
        Ok(())
    })
}

/// A row for each type and way to run the network.
fn measure(
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
            gate_group: args.gate_group,
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

fn print(args: &Args, row: &Row) -> Result<()> {
    if args.json {
        say!("{}", serde_json::to_string(row)?)?;
        return Ok(());
    }
    let Row { model, gating, placement, density, dtype, batch, .. } = row;
    say!(
        "{model:<9} {gating:<7} {placement:<15} {density:>7} {dtype:<5} {batch:>5} {:>5.2}x {:>9.1}",
        row.macs_ratio,
        row.images_per_second
    )?;
    Ok(())
}

fn rounded(x: f64, places: f64) -> f64 {
    (x * places).round() / places
}
