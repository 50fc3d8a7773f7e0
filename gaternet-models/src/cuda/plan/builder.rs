//! From the steps of a network to the launches of an evaluation pass.

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::layout::{Rows, stride};
use gaternet_kernels::cuda::{Activation, CudaDevice};

use super::op::{ConvOp, Op};
use super::weights::{ConvWeights, NormWeights};
use crate::cuda::Result;
use crate::cuda::buffers::{Map, Sizes};
use crate::cuda::error::unsupported;
use crate::cuda::steps::{
    self, Conv, check_row_norm, layer_name, readers, residual, wants_open_channels,
};
use crate::gate_plan::GatePlan;
use crate::network::{ConvLayer, Layer, Network, Step};

/// A value of a network: open channels by the gates of a slot.
pub(super) type Value = steps::Value<usize>;

/// Collects the launches for one batch size.
pub(super) struct Builder<'a, T> {
    pub(super) device: &'a CudaDevice,
    pub(super) batch: usize,
    pub(super) sizes: Sizes,
    pub(super) ops: Vec<Op<T>>,
}

impl<'a, T: Activation> Builder<'a, T> {
    pub(super) fn new(device: &'a CudaDevice, batch: usize) -> Builder<'a, T> {
        Builder { device, batch, sizes: Sizes::default(), ops: Vec::new() }
    }

    pub(super) fn map(&mut self, [channels, h, w]: [usize; 3]) -> Map {
        self.sizes.map(self.batch * h * w * stride(channels))
    }

    /// The launches of `network`; its last value.
    pub(super) fn network(
        &mut self,
        network: &Network,
        images: Map,
        size: [usize; 2],
        plan: Option<&GatePlan>,
    ) -> Result<Value> {
        let (shapes, readers) = (network.shapes(size)?, readers(network));
        let mut values = vec![Value::Map(images)];
        for (at, step) in network.steps().iter().enumerate() {
            let value = match &step.layer {
                Layer::Conv(layer) => {
                    let open =
                        plan.is_some_and(|plan| wants_open_channels(network, plan, at, true));
                    self.conv(step, layer, &shapes, &values, plan, open)?
                }
                _ => self.layer(step, &shapes, &values, &readers)?,
            };
            values.push(value);
        }
        Ok(values[values.len() - 1])
    }

    pub(super) fn planes(&self, [channels, h, w]: [usize; 3]) -> PlaneDims {
        PlaneDims { batch: self.batch, channels, plane: h * w }
    }

    fn conv(
        &mut self,
        step: &Step,
        layer: &ConvLayer,
        shapes: &[[usize; 3]],
        values: &[Value],
        plan: Option<&GatePlan>,
        open: bool,
    ) -> Result<Value> {
        let conv = Conv::new((step, layer), self.batch, shapes, values, plan)?;
        let Conv { dims, rows, x, residual, shape, .. } = conv;
        let slots = conv.slots.computed();
        if let Some(slot) = conv.open {
            self.sizes.lists.insert(slot, dims.in_channels());
        }
        let weights = ConvWeights::new(self.device, layer, &dims, rows)?;
        let (planes, y) = (self.planes(shape), self.map(shape));
        let mut op = ConvOp {
            dims,
            rows,
            weights,
            x,
            live: conv.open,
            gates: slots.filters,
            residual,
            relu: step.relu,
            y,
        };
        let Some(slot) = slots.filters else {
            self.ops.push(Op::Conv(op.into()));
            return Ok(Value::Map(y));
        };
        if rows == Rows::Channels {
            self.ops.push(Op::Conv(op.into()));
            if !open {
                return Ok(Value::Map(y));
            }
            self.sizes.lists.insert(slot, shape[0]);
            let collected = self.map(shape);
            self.ops.push(Op::Collect { dims: planes, slot, x: y, y: collected });
            return Ok(Value::Open(collected, slot));
        }
        // Only open filters are computed, and stand side by side; those are 1 that the lists have.
        self.sizes.lists.insert(slot, shape[0]);
        (op.live, op.gates) = (Some(slot), None);
        if open && residual.is_none() {
            self.ops.push(Op::Conv(op.into()));
            return Ok(Value::Open(y, slot));
        }
        (op.residual, op.relu) = (None, false);
        self.ops.push(Op::Conv(op.into()));
        let (live, relu, dense) = (Some(slot), step.relu, self.map(shape));
        let factors = None;
        self.ops.push(Op::Add { dims: planes, live, factors, x: y, residual, relu, y: dense });
        Ok(Value::Map(dense))
    }

    fn layer(
        &mut self,
        step: &Step,
        shapes: &[[usize; 3]],
        values: &[Value],
        readers: &[usize],
    ) -> Result<Value> {
        let input = step.inputs[0].0;
        let shape = shapes[input];
        let (dims, relu, residual) = (self.planes(shape), step.relu, residual(step, values)?);
        let alone = readers[input] == 1;
        match (&step.layer, values[input]) {
            (Layer::BatchNorm(_, bn), Value::Map(x)) if residual.is_none() => {
                let (y, weights) = (self.map(shape), NormWeights::new(self.device, bn)?);
                self.ops.push(Op::Norm { dims, weights, x, relu, y });
                Ok(Value::Map(y))
            }
            (Layer::BatchNorm(_, bn), Value::Row(x)) if residual.is_none() => {
                check_row_norm(shape[0])?;
                let (y, weights) = (self.sizes.row_like(x), NormWeights::new(self.device, bn)?);
                self.ops.push(Op::RowNorm { dims, weights, x, relu, y });
                Ok(Value::Row(y))
            }
            (Layer::Identity, Value::Map(x)) => match self.ops.last_mut() {
                Some(Op::Add { y, residual: more, relu: open, .. })
                    if *y == x && alone && more.is_none() && !*open =>
                {
                    (*more, *open) = (residual, relu);
                    Ok(Value::Map(x))
                }
                _ => {
                    let (y, live, factors) = (self.map(shape), None, None);
                    self.ops.push(Op::Add { dims, live, factors, x, residual, relu, y });
                    Ok(Value::Map(y))
                }
            },
            (Layer::Identity, Value::Row(x)) if relu && residual.is_none() => {
                match self.ops.last_mut() {
                    Some(Op::Linear { y, relu, .. }) if *y == x && alone => {
                        *relu = true;
                        Ok(Value::Row(x))
                    }
                    _ => unsupported("a ReLU of vectors that follows no linear layer"),
                }
            }
            (layer, _) if residual.is_some() || relu => unsupported(layer_name(layer)),
            _ => self.plain_layer(step, shapes, values),
        }
    }
}
