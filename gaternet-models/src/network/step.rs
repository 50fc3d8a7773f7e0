//! The steps of a network.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear};
use gaternet_core::ops::Pool2dOptions;

use crate::conv_spec::ConvRole;

/// Something that a network computes: value 0 is the images, value i + 1 the output of step i.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(pub(crate) usize);

/// `relu(layer(inputs) + residual)`, as far as these are there.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) layer: Layer,
    /// As many as the layer takes, at least one.
    pub(crate) inputs: Vec<Value>,
    pub(crate) residual: Option<Value>,
    pub(crate) relu: bool,
    /// C of the output.
    pub(crate) channels: usize,
}

impl Step {
    pub(crate) fn reads(&self) -> impl Iterator<Item = Value> {
        self.inputs.iter().copied().chain(self.residual)
    }
}

/// What a step computes. Names are those of the state dict.
#[derive(Debug, Clone)]
pub(crate) enum Layer {
    Conv(ConvLayer),
    BatchNorm(String, BatchNorm2d),
    Linear(String, Linear),
    /// The input itself.
    Identity,
    MaxPool(Pool2dOptions),
    AvgPool(Pool2dOptions),
    GlobalAvgPool,
    /// Zeros (left, right, top, bottom) around each map; negative numbers crop.
    Pad([isize; 4]),
    /// Channels of all inputs.
    Concat,
    Sigmoid,
    /// (N, C, H, W) times (N, C).
    ScaleChannels,
    Dropout(f32),
    /// A random mean of two.
    ShakeShake,
}

/// A convolution, the batch norm after it, and its place in the network.
#[derive(Debug, Clone)]
pub(crate) struct ConvLayer {
    pub(crate) name: String,
    pub(crate) conv: Conv2d,
    pub(crate) bn: Option<(String, BatchNorm2d)>,
    pub(crate) role: ConvRole,
    /// Its number among the convolutions.
    pub(crate) number: usize,
}
