//! The command line.

use clap::Parser;
use gaternet::cli::conv_layers::Op;
use gaternet::cli::dtype::DTypeName;

/// Measures single convolutions with all filters active, and with gates on their output, their
/// input or both.
///
/// Times are medians of 9 runs. Every sample has its own gates, each open with the given
/// probability (the density); making the lists of active filters is not measured. ms is
/// milliseconds a call, ratio that over the time with all filters active. gflops is 10^9 operations
/// a second, where a layer counts 2 operations for each multiply-accumulate it has with all filters
/// active: work that is skipped shows as a rate above the machine's peak.
#[derive(Debug, Parser)]
#[command(name = "conv_throughput", verbatim_doc_comment)]
pub(crate) struct Args {
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// Measure only layers with one of these in their name, such as 64x64@8k3: channels x filters @
    /// side of the map, k and the kernel's side [default: all]
    #[arg(long, value_name = "LAYER", num_args = 1..)]
    pub(crate) filter: Vec<String>,

    /// Samples of a call
    #[arg(long, value_name = "SAMPLES", num_args = 1.., default_values_t = [1, 64])]
    pub(crate) batch: Vec<usize>,

    /// What is computed
    #[arg(long, value_enum, num_args = 1.., default_value = "forward")]
    pub(crate) op: Vec<Op>,

    /// What is multiplied; gradients have f32 only
    #[arg(long, value_enum, num_args = 1.., default_value = "f32")]
    pub(crate) dtype: Vec<DTypeName>,

    /// Worker threads [default: one for each core]; if there are as many as cores, each is bound to
    /// one
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Calls take their inputs in turn from buffers of this size together, so that the inputs are
    /// not all in a cache; 0 gives every call the same input
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) rotate: usize,

    /// Duration of a run, about
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 30)]
    pub(crate) run: u64,
}
