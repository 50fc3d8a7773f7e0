//! What the ops of a network ask for on a GPU: training and evaluation each answer in their way.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear};
use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::layout::Rows;

use super::error::Result;
use super::maps::{MapLayer, PairLayer};
use super::value::{Factors, Map, Row, Value};
use crate::plan::Lists;
use crate::program::gate::Gate;

/// A convolution of maps.
pub(crate) struct ConvStep<'a> {
    pub(super) conv: &'a Conv2d,
    pub(super) dims: Conv2dDims,
    /// The side of the weight that lies in rows. A weight has one such side: if channels and filters
    /// are gated it is that of the channels, which save work in training too.
    pub(super) rows: Rows,
    pub(super) x: Map,
    /// The slot by whose gates x is compact.
    pub(super) open: Option<usize>,
    pub(super) lists: Lists,
    /// Whether the only reader gathers the active filters.
    pub(super) gathered: bool,
    /// (F, OH, OW).
    pub(super) shape: [usize; 3],
}

/// What follows the op of a step, as far as the op has not taken it: `relu(gate · norm(y) +
/// residual)`, with the gate where its position is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rest<'a> {
    pub(super) norm: Option<&'a BatchNorm2d>,
    pub(super) gate: Option<Gate>,
    pub(super) residual: Option<Map>,
    pub(super) relu: bool,
}

/// Launches, collected for one batch size.
pub(crate) trait Emit {
    /// N.
    fn batch(&self) -> usize;

    /// What is put before the name of a thing that has no kernel: `training ` or nothing.
    fn purpose(&self) -> &'static str;

    /// A convolution, with what it takes of the rest.
    fn conv(&mut self, conv: ConvStep<'_>, rest: &mut Rest<'_>) -> Result<Value>;

    /// `relu(gate · norm(x) + residual)` of x (C, H, W), with the gates of a slot.
    fn norm(
        &mut self,
        norm: &BatchNorm2d,
        x: Map,
        shape: [usize; 3],
        rest: (Option<usize>, Option<Map>, bool),
    ) -> Result<Map>;

    /// `relu(norm(x))` of vectors of C features.
    fn row_norm(&mut self, norm: &BatchNorm2d, x: Row, channels: usize, relu: bool) -> Result<Row>;

    /// `relu(factors · x + residual)` of x (C, H, W).
    fn apply(
        &mut self,
        x: Map,
        shape: [usize; 3],
        factors: Option<Factors>,
        residual: Option<Map>,
        relu: bool,
    ) -> Result<Map>;

    /// Whether the launch that writes x, if it was the last, has done this too: `relu(x + residual)`.
    fn extend(&mut self, x: Map, residual: Option<Map>, relu: bool) -> bool;

    /// Whether the linear layer that writes x, if it was the last, has applied a ReLU too.
    fn extend_linear(&mut self, x: Row) -> bool;

    /// `gate · x` by the gates of a slot; if `gathered`, of the active channels alone.
    fn gate(&mut self, x: Map, shape: [usize; 3], slot: usize, gathered: bool) -> Result<Value>;

    /// A layer without parameters, of maps (C, H, W).
    fn map(&mut self, layer: MapLayer, x: Map, shape: [usize; 3]) -> Map;

    /// A layer of two maps that makes one of this shape.
    fn pair(&mut self, layer: PairLayer, parts: [Map; 2], shape: [usize; 3]) -> Map;

    /// Zeros with probability p.
    fn dropout(&mut self, p: f32, x: Map, shape: [usize; 3]) -> Result<Map>;

    /// The mean of each plane of x (C, H, W).
    fn global_avg_pool(&mut self, x: Map, shape: [usize; 3]) -> Row;

    /// `x · weight^T + bias`.
    fn linear(&mut self, linear: &Linear, x: Row) -> Result<Row>;

    /// `1 / (1 + exp(-x))`.
    fn sigmoid(&mut self, x: Row) -> Row;
}
