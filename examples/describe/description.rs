//! What is printed.

use anyhow::Result;
use gaternet::cli::blocks::{Block, blocks};
use gaternet::cli::report::{OutputError, say};
use gaternet::cli::table::millions;
use gaternet::core::nn::Module;
use gaternet::models::{GatePlan, Model};
use serde::Serialize;

use crate::latency::{self, Latency};

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    model: String,
    /// (H, W) of the images.
    size: [usize; 2],
    parameters: usize,
    macs: u64,
    gates: usize,
    /// Outputs of the gater: as many as gates, unless filters share them.
    outputs: usize,
    /// (parameters, MACs) of the gater.
    gater: Option<(usize, u64)>,
    blocks: Vec<Block>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) latency: Vec<Latency>,
}

impl Description {
    pub(crate) fn new(model: &Model, size: [usize; 2]) -> Result<Description> {
        let (kind, plain, plan, gater) = match model {
            Model::Plain(model) => ("", &**model, None, None),
            Model::Gated(model) => {
                let gater = (model.gater().parameter_count(), model.gater().macs(size)?);
                ("gated ", model.backbone(), Some(model.plan()), Some(gater))
            }
        };
        let blocks = blocks(plain, plan, size)?;
        Ok(Description {
            model: format!("{kind}{}", plain.config()),
            size,
            parameters: plain.parameter_count(),
            macs: plain.macs(size)?,
            gates: blocks.iter().map(|block| block.gates).sum(),
            outputs: plan.map_or(0, GatePlan::outputs),
            gater,
            blocks,
            latency: Vec::new(),
        })
    }

    /// A table.
    pub(crate) fn print(&self) -> Result<(), OutputError> {
        say!("{}, images of {}x{}\n", self.model, self.size[0], self.size[1])?;
        let width = self.blocks.iter().map(|block| block.name.len()).max().unwrap_or(0).max(14);
        say!("{:width$} {:>15} {:>12} {:>12} {:>6}", "", "output", "parameters", "MACs", "gates")?;
        for block in &self.blocks {
            let [c, h, w] = block.output;
            let output = if c == 0 { String::new() } else { format!("{c} x {h}x{w}") };
            let (parameters, macs) = (block.parameters, millions(block.macs as f64));
            let gates = if block.gates == 0 { String::new() } else { block.gates.to_string() };
            say!("{:width$} {output:>15} {parameters:>12} {macs:>12} {gates:>6}", block.name)?;
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
                    say!("\n{outputs} gates shared by {} filters", self.gates)?;
                }
                _ => say!("\n{} gates", self.gates)?,
            }
            let fraction = 100.0 * macs as f64 / self.macs as f64;
            say!("the gater has {fraction:.1} % of the backbone's MACs")?;
        }
        if !self.latency.is_empty() {
            latency::print(&self.latency)?;
        }
        Ok(())
    }
}
