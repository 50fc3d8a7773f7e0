//! The launches of an evaluation pass.

use gaternet_kernels::cuda::conv2d::{self, Forward, GateColumns};
use gaternet_kernels::cuda::gate::{self, Apply, Compact};
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{Activation, global_avg_pool, linear, sigmoid};
use gaternet_kernels::{Conv2dDims, LinearDims, PlaneDims};

use super::weights::{ConvWeights, LinearWeights, NormWeights};
use crate::cuda::Result;
use crate::cuda::buffers::Buffers;
use crate::cuda::maps::{MapLayer, PairLayer};
use crate::cuda::value::{Map, Row};

/// An op of the pass: one launch, or few.
#[derive(Debug)]
pub(super) enum Op<T> {
    Conv(Box<ConvOp<T>>),
    /// Batch norm, `y = relu(scale·x + bias)`.
    Norm {
        dims: PlaneDims,
        weights: NormWeights,
        x: Map,
        relu: bool,
        y: Map,
    },
    /// The sum `y = relu(factor·x + residual)`, with x compact by the gates of `active` if there is
    /// one.
    Add {
        dims: PlaneDims,
        active: Option<usize>,
        /// Factors (N, C); 1 without.
        factors: Option<Row>,
        x: Map,
        residual: Option<Map>,
        relu: bool,
        y: Map,
    },
    /// The active channels of x, by the gates of a gated layer.
    Collect {
        dims: PlaneDims,
        layer: usize,
        x: Map,
        y: Map,
    },
    Map {
        layer: MapLayer,
        x: Map,
        y: Map,
    },
    Pair {
        layer: PairLayer,
        dims: PlaneDims,
        parts: [Map; 2],
        y: Map,
    },
    GlobalPool {
        dims: PlaneDims,
        x: Map,
        y: Row,
    },
    Linear {
        dims: LinearDims,
        weights: LinearWeights,
        x: Row,
        relu: bool,
        y: Row,
    },
    /// Batch norm as [`Norm`](Op::Norm), of vectors as maps of one pixel.
    RowNorm {
        dims: PlaneDims,
        weights: NormWeights,
        x: Row,
        relu: bool,
        y: Row,
    },
    Sigmoid {
        x: Row,
        y: Row,
    },
    /// The gates of gate logits, 0 or 1, and their lists.
    Gates {
        gate_logits: Row,
    },
}

/// A convolution with what follows it, `y = relu(gate·(scale·conv(x) + bias) + residual)`.
#[derive(Debug)]
pub(super) struct ConvOp<T> {
    pub(super) dims: Conv2dDims,
    pub(super) rows: Rows,
    pub(super) weights: ConvWeights<T>,
    pub(super) x: Map,
    /// The gated layer by whose gates the side of the rows is compact.
    pub(super) active: Option<usize>,
    /// The gated layer whose gates multiply a dense output.
    pub(super) gates: Option<usize>,
    pub(super) residual: Option<Map>,
    pub(super) relu: bool,
    pub(super) y: Map,
}

impl<T: Activation> Op<T> {
    /// Copies the weights that the model has now.
    pub(super) fn refresh(&mut self) -> Result<()> {
        match self {
            Op::Conv(conv) => conv.weights.refresh(),
            Op::Norm { weights, .. } | Op::RowNorm { weights, .. } => weights.refresh(),
            Op::Linear { weights, .. } => weights.refresh(),
            _ => Ok(()),
        }
    }

    pub(super) fn run(&self, buffers: &Buffers<T>) -> Result<()> {
        match *self {
            Op::Conv(ref conv) => conv.run(buffers),
            Op::Norm { dims, ref weights, x, relu, y } => {
                weights.run(dims, relu, &buffers.map(x), &mut buffers.map_mut(y))
            }
            Op::Add { dims, active, factors, x, residual, relu, y } => {
                let active = active.map(|layer| buffers.gates.active(layer));
                let compact = active.as_deref().map_or(Compact::Nothing, Compact::Source);
                let residual = residual.map(|value| buffers.map(value));
                let factors = factors.map(|row| buffers.row(row));
                let gates = factors.as_deref().map(|factors| GateColumns {
                    gates: factors,
                    stride: dims.channels,
                    first: 0,
                });
                let apply = Apply { gates, residual: residual.as_deref(), relu };
                let (x, mut y) = (buffers.map(x), buffers.map_mut(y));
                Ok(gate::forward(dims, compact, apply, &x, &mut y)?)
            }
            Op::Collect { dims, layer, x, y } => {
                let active = buffers.gates.active(layer);
                let (x, mut y) = (buffers.map(x), buffers.map_mut(y));
                let compact = Compact::Target(&active);
                Ok(gate::forward(dims, compact, Apply::default(), &x, &mut y)?)
            }
            Op::Map { layer, x, y } => {
                let (x, mut y) = (buffers.map(x), buffers.map_mut(y));
                layer.forward(buffers.batch, &x, &mut y)
            }
            Op::Pair { layer, dims, parts, y } => {
                let ([a, b], mut y) = (parts.map(|part| buffers.map(part)), buffers.map_mut(y));
                layer.forward(dims, None, [&a, &b], &mut y)
            }
            Op::GlobalPool { dims, x, y } => {
                let (x, mut y) = (buffers.map(x), buffers.row_mut(y));
                Ok(global_avg_pool::forward(dims, &x, &mut y)?)
            }
            Op::Linear { dims, ref weights, x, relu, y } => {
                let (x, mut y) = (buffers.row(x), buffers.row_mut(y));
                let LinearWeights { weight, bias, .. } = weights;
                Ok(linear::forward(dims, &x, weight, Some(bias), relu, &mut y)?)
            }
            Op::RowNorm { dims, ref weights, x, relu, y } => {
                weights.run(dims, relu, &buffers.row(x), &mut buffers.row_mut(y))
            }
            Op::Sigmoid { x, y } => {
                let (x, mut y) = (buffers.row(x), buffers.row_mut(y));
                Ok(sigmoid::forward(&x, &mut y)?)
            }
            Op::Gates { gate_logits } => {
                let gates = &buffers.gates;
                gates.evaluate(&buffers.row(gate_logits), &mut gates.values.borrow_mut())?;
                gates.refill()
            }
        }
    }
}

impl<T: Activation> ConvOp<T> {
    fn run(&self, buffers: &Buffers<T>) -> Result<()> {
        let gates = &buffers.gates;
        let (values, active) =
            (gates.values.borrow(), self.active.map(|layer| gates.active(layer)));
        let residual = self.residual.map(|value| buffers.map(value));
        let affine = self.weights.affine.as_ref();
        let epilogue = Forward {
            scale: affine.map(|[scale, _]| scale),
            bias: affine.map(|[_, bias]| bias),
            gates: self.gates.map(|layer| gates.of(layer, &values)),
            residual: residual.as_deref(),
            relu: self.relu,
        };
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        let (active, weight) = (active.as_deref(), self.weights.weight.values());
        Ok(conv2d::forward(&self.dims, self.rows, active, &x, weight, epilogue, &mut y)?)
    }
}
