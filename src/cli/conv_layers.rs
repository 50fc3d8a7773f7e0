//! The convolutions that speed is measured on, and what is active in them.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use gaternet_kernels::cpu::conv2d::Active;
use gaternet_kernels::{ActiveFilters, Conv2dDims, KernelError};
use rand::{Rng, RngExt};
use serde::Serialize;

use crate::cli::command_line::write_value;

/// Channels and filters, side of the map, side of the kernel. Stride 1, padded to keep the size.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// Channels of the input.
    pub ci: usize,
    /// Filters.
    pub co: usize,
    /// Height and width of the input and of the output.
    pub side: usize,
    /// Height and width of the kernel, odd.
    pub k: usize,
}

/// The convolutions that are measured where nothing else is asked for.
#[rustfmt::skip]
pub const LAYERS: [Layer; 14] = [
    // CIFAR ResNets
    layer(16, 16, 32, 3), layer(32, 32, 16, 3), layer(64, 64, 8, 3),
    // WRN-28-10
    layer(160, 160, 32, 3), layer(320, 320, 16, 3), layer(640, 640, 8, 3),
    // ImageNet ResNets
    layer(64, 64, 56, 3), layer(128, 128, 28, 3), layer(256, 256, 14, 3), layer(512, 512, 7, 3),
    // Bottlenecks
    layer(64, 256, 56, 1), layer(256, 64, 56, 1), layer(64, 16, 32, 1), layer(16, 64, 32, 1),
];

const fn layer(ci: usize, co: usize, side: usize, k: usize) -> Layer {
    Layer { ci, co, side, k }
}

impl Layer {
    /// The sizes of a call with `batch` samples.
    ///
    /// # Errors
    /// If a size is 0, or too large.
    pub fn dims(&self, batch: usize) -> Result<Conv2dDims, KernelError> {
        let Layer { ci, co, side, k } = *self;
        Conv2dDims::new([batch, ci, side, side], [co, ci, k, k], [1, 1], [k / 2, k / 2])
    }

    /// Standard deviation of weights that keep the size of the activations (He et al. 2015).
    pub fn weight_std(&self) -> f32 {
        (2.0 / (self.ci * self.k * self.k) as f32).sqrt()
    }
}

/// `64x64@8k3`: channels x filters @ side, k and the kernel's side.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layer { ci, co, side, k } = self;
        write!(f, "{ci}x{co}@{side}k{k}")
    }
}

/// Reads what `Display` writes.
impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Layer, String> {
        let numbers: Option<Vec<usize>> =
            text.split(['x', '@', 'k']).map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[ci, co, side, k])
                if text == layer(ci, co, side, k).to_string()
                    && ![ci, co, side].contains(&0)
                    && k % 2 == 1 =>
            {
                Ok(layer(ci, co, side, k))
            }
            _ => Err("expected such as 64x64@56k3, the kernel's side being odd".to_owned()),
        }
    }
}

/// A layer as the lines of `--json` have it.
#[derive(Debug, Serialize)]
pub struct LayerRow {
    /// Channels of the input.
    pub ci: usize,
    /// Filters.
    pub co: usize,
    /// Height of the input.
    pub h: usize,
    /// Its width.
    pub w: usize,
    /// Height and width of the kernel.
    pub k: usize,
    /// Rows and columns from one output to the next.
    pub stride: usize,
}

impl From<Layer> for LayerRow {
    fn from(Layer { ci, co, side, k }: Layer) -> LayerRow {
        LayerRow { ci, co, h: side, w: side, k, stride: 1 }
    }
}

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// The output
    Forward,
    /// The gradient of the input
    BackwardInput,
    /// The gradient of the weights
    BackwardWeight,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}

/// Which side of a layer has gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// Neither.
    None,
    /// The filters of the layer.
    Output,
    /// Its channels, the filters of the layer before.
    Input,
    /// Filters and channels.
    Both,
}

impl fmt::Display for Gating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Gating::None => "none",
            Gating::Output => "output",
            Gating::Input => "input",
            Gating::Both => "both",
        })
    }
}

/// Everything active, then each gating with the fraction of its gates that are open.
pub fn cases() -> impl Iterator<Item = (Gating, f64)> {
    let gated = [Gating::Output, Gating::Input, Gating::Both]
        .into_iter()
        .flat_map(|gating| [0.75, 0.5, 0.25, 0.1].map(|density| (gating, density)));
    [(Gating::None, 1.0)].into_iter().chain(gated)
}

/// The lists of one batch.
#[derive(Debug)]
pub struct Gates {
    filters: Option<ActiveFilters>,
    channels: Option<ActiveFilters>,
}

/// Samples that a measurement passes over at least: the lists of one sample alone say little about
/// a density.
const SAMPLES: usize = 64;

impl Gates {
    /// For as many batches as 64 samples take, each gate of each sample open with probability
    /// `density`.
    pub fn draw(
        layer: Layer,
        batch: usize,
        gating: Gating,
        density: f64,
        rng: &mut impl Rng,
    ) -> Vec<Gates> {
        let mut side = |gated: bool, filters: usize| {
            let gates: Vec<f32> = (0..batch * filters)
                .map(|_| f32::from(u8::from(rng.random_bool(density))))
                .collect();
            ActiveFilters::from_columns(&gates, filters, 0, filters).filter(|_| gated)
        };
        let mut gates = || Gates {
            filters: side(matches!(gating, Gating::Output | Gating::Both), layer.co),
            channels: side(matches!(gating, Gating::Input | Gating::Both), layer.ci),
        };
        (0..SAMPLES.div_ceil(batch)).map(|_| gates()).collect()
    }

    /// What a convolution computes of them.
    pub fn active(&self) -> Active<'_> {
        Active::default().with_filters(self.filters.as_ref()).with_channels(self.channels.as_ref())
    }
}
