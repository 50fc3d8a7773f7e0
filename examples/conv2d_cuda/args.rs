//! The command line.

use std::fmt;

use clap::{Parser, ValueEnum};
use gaternet::cli::command_line::write_value;
use gaternet::cli::conv_layers::{Layer, Op};

/// Measures single convolutions in bf16 on a GPU with all filters active, and with gates on their
/// output or their input.
///
/// Times are medians of 9 runs of a CUDA graph, whose calls take their operands in turn from
/// buffers that do not fit in the cache together. Every sample has its own gates, each open with
/// the given probability (the density); making the lists of active filters is not measured. ratio
/// is the time over that with all filters active; tflops counts what a layer computes with all
/// filters active, so work that is skipped shows as a rate above the device's peak.
#[derive(Debug, Parser)]
#[command(name = "conv2d_cuda", verbatim_doc_comment)]
pub(crate) struct Args {
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the name of the device and end
    #[arg(long)]
    pub(crate) probe: bool,

    /// Channels x filters @ side of the map, k and the kernel's side; stride 1, size is kept
    #[arg(long, value_name = "LAYER", num_args = 1..,
          default_values = ["160x160@32k3", "320x320@16k3", "64x64@56k3", "256x256@14k3"])]
    pub(crate) layer: Vec<Layer>,

    /// Samples of a call
    #[arg(long, value_name = "SAMPLES", num_args = 1.., default_values_t = [128])]
    pub(crate) batch: Vec<usize>,

    /// What is computed
    #[arg(long, value_enum, num_args = 1..,
          default_values = ["forward", "backward-input", "backward-weight"])]
    pub(crate) op: Vec<Op>,

    /// The instructions that multiply
    #[arg(long, value_enum, num_args = 1.., default_value = "auto")]
    pub(crate) instructions: Vec<Instructions>,

    /// Size of the buffers that a graph takes operands from, together
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub(crate) rotate: usize,

    /// Duration of a run, about
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30)]
    pub(crate) run: u64,
}

/// The instructions that multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Instructions {
    /// The faster
    Auto,
    MmaSync,
    Wgmma,
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}
