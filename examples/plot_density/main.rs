//! Draws what conv_throughput measured: time against density.

mod rows;
mod svg;

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use gaternet::cli::command_line::parse;
use gaternet::cli::report::{exit_code, say};

/// Draws the lines of `conv_throughput --json` as an SVG: for each layer and batch the time at a
/// density over the time at density 1. Lines with the same layer, batch and gates count with their
/// median.
#[derive(Debug, Parser)]
#[command(name = "plot_density", verbatim_doc_comment)]
struct Args {
    /// Output of `conv_throughput --json` [default: standard input]
    #[arg(value_name = "FILE.jsonl")]
    input: Option<PathBuf>,

    /// The drawing
    #[arg(long, value_name = "FILE.svg")]
    out: PathBuf,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> Result<()> {
    let Args { input, out } = parse();
    let (name, text) = match &input {
        Some(path) => (path.display().to_string(), fs::read_to_string(path)),
        None => {
            let mut text = String::new();
            let read = io::stdin().read_to_string(&mut text);
            ("standard input".to_owned(), read.map(|_| text))
        }
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    let panels = rows::panels(&text).with_context(|| format!("cannot plot {name}"))?;
    fs::write(&out, svg::draw(&panels))
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(say!("wrote {}", out.display())?)
}
