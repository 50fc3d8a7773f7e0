//! Builder of the launches of an evaluation pass: batch norm, gates, residual and ReLU go into a
//! convolution's.

use gaternet_core::nn::{BatchNorm2d, Linear};
use gaternet_kernels::LinearDims;
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{Activation, CudaDevice};

use super::op::{ConvOp, Op};
use super::weights::{ConvWeights, LinearWeights, NormWeights};
use crate::cuda::buffers::Sizes;
use crate::cuda::emit::{ConvStep, Emit, Rest};
use crate::cuda::error::{Result, unsupported};
use crate::cuda::maps::{MapLayer, PairLayer};
use crate::cuda::value::{Factors, Map, Row, Value};

/// Collects the launches for one batch size.
pub(super) struct Builder<'a, T> {
    device: &'a CudaDevice,
    pub(super) sizes: Sizes,
    pub(super) ops: Vec<Op<T>>,
}

impl<'a, T: Activation> Builder<'a, T> {
    pub(super) fn new(device: &'a CudaDevice, batch: usize) -> Builder<'a, T> {
        Builder { device, sizes: Sizes::new(batch), ops: Vec::new() }
    }
}

impl<T: Activation> Emit for Builder<'_, T> {
    fn batch(&self) -> usize {
        self.sizes.batch
    }

    fn purpose(&self) -> &'static str {
        ""
    }

    fn conv(&mut self, conv: ConvStep<'_>, rest: &mut Rest<'_>) -> Result<Value> {
        let Rest { norm, residual, relu, .. } = std::mem::take(rest);
        let ConvStep { conv: host, dims, rows, x, active, lists, compact, shape } = conv;
        if let Some(layer) = active {
            self.sizes.lists.insert(layer, dims.in_channels());
        }
        let weights = ConvWeights::new(self.device, host, norm, &dims, rows)?;
        let (planes, y) = (self.sizes.planes(shape), self.sizes.maps(shape));
        let gates = lists.filters;
        let mut op = ConvOp { dims, rows, weights, x, active, gates, residual, relu, y };
        let Some(layer) = lists.filters else {
            self.ops.push(Op::Conv(op.into()));
            return Ok(Value::Map(y));
        };
        if rows == Rows::Channels {
            self.ops.push(Op::Conv(op.into()));
            if !compact {
                return Ok(Value::Map(y));
            }
            self.sizes.lists.insert(layer, shape[0]);
            let gathered = self.sizes.maps(shape);
            self.ops.push(Op::Collect { dims: planes, layer, x: y, y: gathered });
            return Ok(Value::Active(gathered, layer));
        }
        // Only active filters are computed, and lie side by side: their gates are 1.
        self.sizes.lists.insert(layer, shape[0]);
        (op.active, op.gates) = (Some(layer), None);
        if compact && residual.is_none() {
            self.ops.push(Op::Conv(op.into()));
            return Ok(Value::Active(y, layer));
        }
        (op.residual, op.relu) = (None, false);
        self.ops.push(Op::Conv(op.into()));
        let (active, factors, dense) = (Some(layer), None, self.sizes.maps(shape));
        self.ops.push(Op::Add { dims: planes, active, factors, x: y, residual, relu, y: dense });
        Ok(Value::Map(dense))
    }

    fn norm(
        &mut self,
        norm: &BatchNorm2d,
        x: Map,
        shape: [usize; 3],
        (gates, residual, relu): (Option<usize>, Option<Map>, bool),
    ) -> Result<Map> {
        if gates.is_some() {
            return unsupported("gates of what is no convolution");
        }
        let (dims, y) = (self.sizes.planes(shape), self.sizes.maps(shape));
        let weights = NormWeights::new(self.device, norm)?;
        let alone = residual.is_none();
        self.ops.push(Op::Norm { dims, weights, x, relu: relu && alone, y });
        if alone { Ok(y) } else { self.apply(y, shape, None, residual, relu) }
    }

    fn row_norm(&mut self, norm: &BatchNorm2d, x: Row, channels: usize, relu: bool) -> Result<Row> {
        let (y, weights) = (self.sizes.row_like(x), NormWeights::new(self.device, norm)?);
        let dims = self.sizes.planes([channels, 1, 1]);
        self.ops.push(Op::RowNorm { dims, weights, x, relu, y });
        Ok(y)
    }

    fn apply(
        &mut self,
        x: Map,
        shape: [usize; 3],
        factors: Option<Factors>,
        residual: Option<Map>,
        relu: bool,
    ) -> Result<Map> {
        let factors = match factors {
            None => None,
            Some(Factors::Row(row)) => Some(row),
            Some(Factors::Gates(_)) => return unsupported("gates of what is no convolution"),
        };
        let (dims, y) = (self.sizes.planes(shape), self.sizes.maps(shape));
        self.ops.push(Op::Add { dims, active: None, factors, x, residual, relu, y });
        Ok(y)
    }

    fn extend(&mut self, x: Map, residual: Option<Map>, relu: bool) -> bool {
        match self.ops.last_mut() {
            Some(Op::Add { y, residual: more, relu: rectifies, .. })
                if *y == x && more.is_none() && !*rectifies =>
            {
                (*more, *rectifies) = (residual, relu);
                true
            }
            _ => false,
        }
    }

    fn extend_linear(&mut self, x: Row) -> bool {
        match self.ops.last_mut() {
            Some(Op::Linear { y, relu, .. }) if *y == x => {
                *relu = true;
                true
            }
            _ => false,
        }
    }

    fn gate(&mut self, _: Map, _: [usize; 3], _: usize, _: bool) -> Result<Value> {
        unsupported("gates of what is no convolution")
    }

    fn map(&mut self, layer: MapLayer, x: Map, [channels, ..]: [usize; 3]) -> Map {
        let [h, w] = layer.out_size();
        let y = self.sizes.maps([channels, h, w]);
        self.ops.push(Op::Map { layer, x, y });
        y
    }

    fn pair(&mut self, layer: PairLayer, parts: [Map; 2], shape: [usize; 3]) -> Map {
        let (dims, y) = (self.sizes.planes(shape), self.sizes.maps(shape));
        self.ops.push(Op::Pair { layer, dims, parts, y });
        y
    }

    fn dropout(&mut self, _: f32, x: Map, _: [usize; 3]) -> Result<Map> {
        Ok(x)
    }

    fn global_avg_pool(&mut self, x: Map, shape: [usize; 3]) -> Row {
        let (dims, y) = (self.sizes.planes(shape), self.sizes.rows(shape[0]));
        self.ops.push(Op::GlobalPool { dims, x, y });
        y
    }

    fn linear(&mut self, linear: &Linear, x: Row) -> Result<Row> {
        let dims: LinearDims = self.sizes.linear(linear);
        let y = self.sizes.rows(dims.out_features);
        let weights = LinearWeights::new(self.device, linear)?;
        self.ops.push(Op::Linear { dims, weights, x, relu: false, y });
        Ok(y)
    }

    fn sigmoid(&mut self, x: Row) -> Row {
        let y = self.sizes.row_like(x);
        self.ops.push(Op::Sigmoid { x, y });
        y
    }
}
