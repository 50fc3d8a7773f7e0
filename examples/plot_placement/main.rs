//! Draws where the gates of each placement sit in a block, and what they save.

mod svg;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};
use gaternet::models::{GatePlacement, GatedConfig, GatedNet, GaterConfig};

use crate::svg::{Block, Stage};

/// Draws, as an SVG, a block of two convolutions with the gates of each placement: where
/// they sit, which filters and channels run, and what is left of the block's MACs with half of the
/// gates open.
#[derive(Debug, Parser)]
#[command(name = "plot_placement", verbatim_doc_comment)]
struct Args {
    /// The drawing
    #[arg(long, value_name = "FILE.svg")]
    out: PathBuf,
}

/// The block that is drawn: the second of a stage, with an identity for its shortcut.
const BLOCK: &str = "stage1.block2";

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let Args { out } = parse();
    let blocks = [
        block("block-output", GatePlacement::BlockOutput)?,
        block("inner", GatePlacement::Inner)?,
        block("all", GatePlacement::All)?,
    ];
    fs::write(&out, svg::draw(&blocks))
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(say!("wrote {}", out.display())?)
}

/// As the gate plan of a ResNet-14 has it.
fn block(name: &'static str, placement: GatePlacement) -> Result<Block> {
    let gater = GaterConfig { depth: 8, ..GaterConfig::default() };
    let model = GatedNet::new(GatedConfig { placement, gater, ..GatedConfig::cifar(14, 10) }, 0)?;
    let convs = model.backbone().convs([32, 32])?;
    let mut stages = Vec::new();
    let (mut left, mut whole) = (0.0, 0.0);
    for (conv, gates) in convs.iter().zip(model.plan().convs()) {
        let Some(conv_name) = conv.name.strip_prefix(BLOCK).and_then(|rest| rest.strip_prefix('.'))
        else {
            continue;
        };
        let (filters, channels) = (gates.filters.is_some(), gates.channels.is_some());
        let open = |gated: bool| if gated { 0.5 } else { 1.0 };
        left += conv.macs() as f64 * open(filters) * open(channels);
        whole += conv.macs() as f64;
        stages.push(Stage { name: conv_name.to_owned(), filters, channels });
    }
    let [inner, last]: [Stage; 2] =
        stages.try_into().map_err(|stages| anyhow::anyhow!("not two convolutions: {stages:?}"))?;
    Ok(Block { name, inner, last, left: left / whole })
}
