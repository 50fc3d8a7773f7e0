//! Counts of a network: parameters, MACs and gates, unit by unit.

#[path = "../common/command_line.rs"]
mod command_line;
#[path = "../common/dtype.rs"]
mod dtype;
#[path = "../common/gate_override.rs"]
mod gate_override;
mod latency;
#[path = "../common/names.rs"]
mod names;
#[path = "../common/note.rs"]
mod note;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/threads.rs"]
mod threads;
mod units;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use gaternet::core::nn::Module;
use gaternet::models::{
    BackboneConfig, Family, GateOverride, GatePlacement, GatePlan, GatedConfig, GatedResNet,
    GaterConfig, Model, PlainNet,
};
use serde::Serialize;

use crate::command_line::parse;
use crate::dtype::DTypeName;
use crate::latency::{Latency, latencies};
use crate::names::{ModelName, PlacementName};
use crate::report::{OutputError, exit_code, say};
use crate::threads::use_threads;
use crate::units::{Unit, units};

/// Prints a network's parameters, multiply-accumulates (MACs) for one image and gates, unit by unit.
///
/// MACs are those of convolutions, linear layers and global pooling with every filter running. With
/// --gated the gater is counted too, on a line of its own.
#[derive(Debug, Parser)]
#[command(name = "describe", args_override_self = true, verbatim_doc_comment)]
struct Args {
    /// Network; imagenet-* are for images of 224x224, the others for 32x32
    #[arg(long, value_enum, default_value = "resnet20")]
    model: ModelName,

    /// Width of the output layer [default: 10, or 1000 of an imagenet-* network]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,

    /// Every number of channels is multiplied by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    width: f64,

    /// Squeeze-and-excitation with reduction 16 in every residual unit
    #[arg(long)]
    se: bool,

    /// With gates and a gater
    #[arg(long)]
    gated: bool,

    /// The plain network, made as wide as it takes to have the parameters of the gated one
    #[arg(long, conflicts_with = "gated")]
    wider: bool,

    /// Which filters have gates
    #[arg(long, value_enum, default_value = "residual-output")]
    placement: PlacementName,

    /// Gate the convolutions whose names match a pattern, or leave them alone, whatever --placement says
    #[arg(long, value_name = "PATTERN=on|none", value_parser = gate_override::parse)]
    gate: Vec<GateOverride>,

    /// Filters that share a gate
    #[arg(long, value_name = "FILTERS", default_value_t = 1)]
    gate_group: usize,

    /// Depth of the gater's ResNet, 6n + 2 layers
    #[arg(long, value_name = "LAYERS", default_value_t = 20)]
    gater_depth: usize,

    /// Channels of the gater's ResNet are multiplied by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    gater_width: f64,

    /// The gater sees images averaged over squares of this side: 1, 2 or 4
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    gater_pool: usize,

    /// Units between the gater's features and its gates
    #[arg(long, value_name = "UNITS", default_value_t = 8)]
    bottleneck: usize,

    /// Also the time of a pass on this machine, predicted from a calibration of some seconds
    #[arg(long)]
    latency: bool,

    /// Densities to predict it at: the share of open gates in each layer, 0 to 1
    #[arg(long, value_name = "SHARE", num_args = 1.., default_values_t = [1.0, 0.75, 0.5, 0.25])]
    #[arg(requires = "latency")]
    density: Vec<f64>,

    /// What the convolutions multiply
    #[arg(long, value_enum, default_value = "f32", requires = "latency")]
    dtype: DTypeName,

    /// Worker threads of the calibration [default: one for each core, bound to it]
    #[arg(long, value_name = "N", requires = "latency")]
    threads: Option<usize>,

    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Description {
    model: String,
    /// (H, W) of the images.
    size: [usize; 2],
    parameters: usize,
    macs: u64,
    gates: usize,
    /// Outputs of the gater: as many as gates, unless groups of filters share one.
    outputs: usize,
    /// (parameters, MACs) of the gater.
    gater: Option<(usize, u64)>,
    units: Vec<Unit>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latency: Vec<Latency>,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let args: Args = parse();
    ensure!(args.classes != Some(0), "--classes 0: must be at least 1");
    for density in &args.density {
        ensure!((0.0..=1.0).contains(density), "--density {density}: must be between 0 and 1");
    }
    if args.latency {
        use_threads(args.threads)?;
    }
    let (model, size) = build(&args)?;
    let mut description = Description::new(&model, size)?;
    if args.latency {
        // From outside the pool every pass would wait for a worker to wake up.
        description.latency =
            rayon::scope(|_| latencies(&model, size, args.dtype.into(), &args.density))?;
    }
    if args.json {
        say!("{}", serde_json::to_string(&description)?)?;
    } else {
        description.print()?;
    }
    Ok(())
}

/// The model, and the size of its images.
fn build(args: &Args) -> Result<(Model, [usize; 2])> {
    let (backbone, size) = backbone(args);
    let gater = GaterConfig {
        depth: args.gater_depth,
        width: args.gater_width,
        pool: args.gater_pool,
        bottleneck: args.bottleneck,
        ..GaterConfig::default()
    };
    let placement: GatePlacement = args.placement.into();
    let config = GatedConfig {
        placement,
        gate_overrides: args.gate.clone(),
        group: args.gate_group,
        gater,
        ..GatedConfig::new(backbone)
    };
    if args.gated {
        return Ok((Model::Gated(GatedResNet::new(config, 0)?.into()), size));
    }
    let backbone = match args.wider {
        true => backbone.wider(GatedResNet::new(config, 0)?.parameter_count())?,
        false => backbone,
    };
    Ok((Model::Plain(PlainNet::new(backbone, 0)?.into()), size))
}

/// The network without gates, and the size of its images.
fn backbone(args: &Args) -> (BackboneConfig, [usize; 2]) {
    let config = args.model.config(10);
    let usual = if matches!(config.family, Family::ImagenetResnet { .. }) { 1000 } else { 10 };
    let classes = args.classes.unwrap_or(usual);
    let squeeze_excitation = args.se.then_some(16);
    let config = BackboneConfig { width: args.width, squeeze_excitation, classes, ..config };
    (config, config.image_size())
}

impl Description {
    fn new(model: &Model, size: [usize; 2]) -> Result<Description> {
        let (kind, plain, plan, gater) = match model {
            Model::Plain(model) => ("", &**model, None, None),
            Model::Gated(model) => {
                let gater = (model.gater().parameter_count(), model.gater().macs(size)?);
                ("gated ", model.backbone(), Some(model.plan()), Some(gater))
            }
        };
        let units = units(plain, plan, size)?;
        Ok(Description {
            model: format!("{kind}{}", plain.config()),
            size,
            parameters: plain.parameter_count(),
            macs: plain.macs(size)?,
            gates: units.iter().map(|unit| unit.gates).sum(),
            outputs: plan.map_or(0, GatePlan::outputs),
            gater,
            units,
            latency: Vec::new(),
        })
    }

    fn print(&self) -> Result<(), OutputError> {
        say!("{}, images of {}x{}\n", self.model, self.size[0], self.size[1])?;
        let width = self.units.iter().map(|unit| unit.name.len()).max().unwrap_or(0).max(14);
        say!("{:width$} {:>15} {:>12} {:>12} {:>6}", "", "output", "parameters", "MACs", "gates")?;
        for unit in &self.units {
            let [c, h, w] = unit.output;
            let output = if c == 0 { String::new() } else { format!("{c} x {h}x{w}") };
            let (parameters, macs) = (unit.parameters, millions(unit.macs as f64));
            let gates = if unit.gates == 0 { String::new() } else { unit.gates.to_string() };
            say!("{:width$} {output:>15} {parameters:>12} {macs:>12} {gates:>6}", unit.name)?;
        }
        say!("")?;
        let total = |name: &str, parameters: usize, macs: u64| {
            let (parameters, macs) = (millions(parameters as f64), millions(macs as f64));
            say!("{name:width$} {:>15} {parameters:>12} {macs:>12}", "")
        };
        total("backbone", self.parameters, self.macs)?;
        if let Some((parameters, macs)) = self.gater {
            total("gater", parameters, macs)?;
            total("together", self.parameters + parameters, self.macs + macs)?;
            match self.outputs {
                outputs if outputs < self.gates => {
                    say!("\n{} gates in {outputs} groups", self.gates)?;
                }
                _ => say!("\n{} gates", self.gates)?,
            }
            let share = 100.0 * macs as f64 / self.macs as f64;
            say!("the gater has {share:.1} % of the backbone's MACs")?;
        }
        if !self.latency.is_empty() {
            latency::print(&self.latency)?;
        }
        Ok(())
    }
}

/// `40814250` as `40.81 M`.
fn millions(count: f64) -> String {
    format!("{:.2} M", count / 1e6)
}
