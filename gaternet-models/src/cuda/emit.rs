//! The trait [`Emit`]: what the ops of a network ask for on a GPU, and training and evaluation each
//! answer in their way.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear};
use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::layout::Rows;

use super::error::Result;
use super::maps::{MapLayer, PairLayer};
use super::value::{Factors, Map, Row, Value};
use crate::plan::Lists;
use crate::program::gate::Gate;

/// A convolution of maps that is to be emitted.
pub(crate) struct ConvStep<'a> {
    pub(super) conv: &'a Conv2d,
    pub(super) dims: Conv2dDims,
    /// The side of the weight that lies in rows. A weight has one such side: if channels and
    /// filters are gated it is that of the channels, which save work in training too.
    pub(super) rows: Rows,
    pub(super) x: Map,
    /// The gated layer by whose gates x is compact; `None` if x is dense.
    pub(super) active: Option<usize>,
    pub(super) lists: Lists,
    /// Whether the output may be compact: its only reader takes the active channels alone.
    pub(super) compact: bool,
    /// Shape (F, OH, OW) of the output.
    pub(super) shape: [usize; 3],
}

/// The part of a step after its op, as far as the op has not taken it: `relu(gate · norm(y) +
/// residual)`, with the gate where its position is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rest<'a> {
    pub(super) norm: Option<&'a BatchNorm2d>,
    pub(super) gate: Option<Gate>,
    pub(super) residual: Option<Map>,
    pub(super) relu: bool,
}

/// A collector of launches for one batch size.
pub(crate) trait Emit {
    /// Number of images N.
    fn batch(&self) -> usize;

    /// Prefix to the name of a thing that has no kernel: `training ` or nothing.
    fn purpose(&self) -> &'static str;

    /// Emits a convolution, with what it takes of the rest.
    fn conv(&mut self, conv: ConvStep<'_>, rest: &mut Rest<'_>) -> Result<Value>;

    /// Emits `relu(gate · norm(x) + residual)` for x (C, H, W), with the gates of a gated layer.
    fn norm(
        &mut self,
        norm: &BatchNorm2d,
        x: Map,
        shape: [usize; 3],
        rest: (Option<usize>, Option<Map>, bool),
    ) -> Result<Map>;

    /// Emits `relu(norm(x))` for vectors of C features.
    fn row_norm(&mut self, norm: &BatchNorm2d, x: Row, channels: usize, relu: bool) -> Result<Row>;

    /// Emits `relu(factors · x + residual)` for x (C, H, W).
    fn apply(
        &mut self,
        x: Map,
        shape: [usize; 3],
        factors: Option<Factors>,
        residual: Option<Map>,
        relu: bool,
    ) -> Result<Map>;

    /// Adds `relu(x + residual)` to the launch that writes x, if that was the last and can do it;
    /// returns whether it does.
    fn extend(&mut self, x: Map, residual: Option<Map>, relu: bool) -> bool;

    /// Adds a ReLU to the linear layer that writes x, if that was the last; returns whether it
    /// does.
    fn extend_linear(&mut self, x: Row) -> bool;

    /// Emits `gate · x` by the gates of a gated layer; if `compact`, of the active channels alone.
    fn gate(&mut self, x: Map, shape: [usize; 3], layer: usize, compact: bool) -> Result<Value>;

    /// Emits a layer without parameters, of maps (C, H, W).
    fn map(&mut self, layer: MapLayer, x: Map, shape: [usize; 3]) -> Map;

    /// Emits a layer of two maps that makes one of this shape.
    fn pair(&mut self, layer: PairLayer, parts: [Map; 2], shape: [usize; 3]) -> Map;

    /// Emits dropout with probability p.
    fn dropout(&mut self, p: f32, x: Map, shape: [usize; 3]) -> Result<Map>;

    /// Emits the mean of each plane of x (C, H, W).
    fn global_avg_pool(&mut self, x: Map, shape: [usize; 3]) -> Row;

    /// Emits `x · weight^T + bias`.
    fn linear(&mut self, linear: &Linear, x: Row) -> Result<Row>;

    /// Emits `1 / (1 + exp(-x))`.
    fn sigmoid(&mut self, x: Row) -> Row;
}
