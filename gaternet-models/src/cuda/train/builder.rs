//! From the steps of a network to the nodes of a training step.

use std::collections::{HashMap, HashSet};

use gaternet_core::nn::BatchNorm2d;
use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::layout::stride;
use gaternet_kernels::cuda::{Activation, batch_norm};

use super::apply::{ApplyNode, Factors};
use super::conv::{ConvNode, Hidden};
use super::gates::GatesNode;
use super::gating::{counts_evaluation, gate_scratch};
use super::node::Node;
use super::norm::{BatchNorm, NormNode};
use super::row_norm::RowNormNode;
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::{Map, Row, Sizes};
use crate::cuda::error::unsupported;
use crate::cuda::steps::{
    self, Conv, check_row_norm, layer_name, readers, residual, wants_open_channels,
};
use crate::gate_plan::GatePlan;
use crate::gated_net::GatedNet;
use crate::network::{ConvLayer, Layer, Network, Step};

/// A value of a network: open channels of maps that are there whole too.
pub(super) type Value = steps::Value<Hidden>;

/// Collects the nodes of a step for one batch size.
pub(super) struct Builder<'a, T> {
    pub(super) weights: &'a mut Weights<T>,
    pub(super) batch: usize,
    pub(super) sizes: Sizes,
    pub(super) nodes: Vec<Node>,
    /// Values that depend on no parameter.
    pub(super) constant: HashSet<Map>,
    /// The rows of the weight that computes a value.
    pub(super) computed_by: HashMap<Map, Rows>,
    /// How many layers draw random numbers.
    pub(super) streams: u32,
}

impl<'a, T: Activation> Builder<'a, T> {
    pub(super) fn new(weights: &'a mut Weights<T>, batch: usize) -> Builder<'a, T> {
        Builder {
            weights,
            batch,
            sizes: Sizes::default(),
            nodes: Vec::new(),
            constant: HashSet::new(),
            computed_by: HashMap::new(),
            streams: 0,
        }
    }

    /// The images, (C, H, W).
    pub(super) fn images(&mut self, shape: [usize; 3]) -> Map {
        let images = self.map(shape);
        self.constant.insert(images);
        images
    }

    /// The nodes of `network`; its last value.
    pub(super) fn network(
        &mut self,
        network: &Network,
        images: Map,
        size: [usize; 2],
        plan: Option<&GatePlan>,
    ) -> Result<Value> {
        let shapes = network.shapes(size)?;
        let readers = readers(network);
        let mut values = vec![Value::Map(images)];
        for (at, step) in network.steps().iter().enumerate() {
            let value = match &step.layer {
                Layer::Conv(layer) => {
                    let collect =
                        plan.is_some_and(|plan| wants_open_channels(network, plan, at, false));
                    self.conv(step, layer, &shapes, &values, plan, collect)?
                }
                _ => self.layer(step, &shapes, &values, &readers)?,
            };
            values.push(value);
        }
        Ok(values[values.len() - 1])
    }

    /// The gates of `model`, of its gater's output.
    pub(super) fn gates(&mut self, preact: Row, model: &GatedNet) {
        let gates = self.batch * model.plan().gates();
        let [grad_preact, noisy] = [(); 2].map(|()| self.sizes.row_like(preact));
        let evaluated = counts_evaluation(model.config()).then(|| self.sizes.row(gates));
        self.nodes.push(Node::Gates(GatesNode { preact, grad_preact, noisy, evaluated }));
        self.sizes.need_scratch(gate_scratch(model, self.batch));
    }

    pub(super) fn map(&mut self, [channels, h, w]: [usize; 3]) -> Map {
        self.sizes.map(self.batch * h * w * stride(channels))
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
        collect: bool,
    ) -> Result<Value> {
        let conv = Conv::new((step, layer), self.batch, shapes, values, plan)?;
        let Conv { dims, slots, rows, x, open: hidden, residual, shape } = conv;
        if let Some(Hidden { slot, .. }) = hidden {
            self.sizes.lists.insert(slot, dims.in_channels());
        }
        let raw = self.map(shape);
        let weight = self.weights.conv(&layer.conv, &dims, rows)?;
        let node = ConvNode { weight, dims, rows, x, hidden, y: raw, backward: None };
        self.nodes.push(Node::Conv(node));
        self.computed_by.insert(raw, rows);

        // As on the CPU: a gate before the ReLU would get no gradient while it is closed.
        let behind = slots.filters.filter(|_| step.relu && residual.is_none());
        let before = slots.filters.filter(|_| behind.is_none());
        let y = match &layer.bn {
            Some((_, bn)) => self.norm(bn, raw, shape, before, residual, step.relu)?,
            None if before.is_none() && residual.is_none() && !step.relu => raw,
            None => {
                let gates = before.map(Factors::Gates);
                self.apply(raw, shape, gates, residual, step.relu, false)
            }
        };
        let Some(slot) = behind else { return Ok(Value::Map(y)) };
        let gated = self.apply(y, shape, Some(Factors::Gates(slot)), None, false, collect);
        if !collect {
            return Ok(Value::Map(gated));
        }
        self.sizes.lists.insert(slot, shape[0]);
        Ok(Value::Open(gated, Hidden { h: y, slot }))
    }

    fn norm(
        &mut self,
        bn: &BatchNorm2d,
        x: Map,
        shape: [usize; 3],
        gates: Option<usize>,
        residual: Option<Map>,
        relu: bool,
    ) -> Result<Map> {
        let (norm, y) = (self.batch_norm(bn, shape)?, self.map(shape));
        let node = NormNode { norm, x, gates, residual, relu, y, backward: None };
        self.nodes.push(Node::Norm(node));
        Ok(y)
    }

    fn batch_norm(&mut self, bn: &BatchNorm2d, shape: [usize; 3]) -> Result<BatchNorm> {
        let (number, dims) = (self.weights.norm(bn)?, self.planes(shape));
        self.sizes.need_scratch(batch_norm::scratch_len(dims));
        Ok(BatchNorm { number, dims })
    }

    pub(super) fn apply(
        &mut self,
        x: Map,
        shape: [usize; 3],
        factors: Option<Factors>,
        residual: Option<Map>,
        relu: bool,
        collect: bool,
    ) -> Map {
        let (dims, y) = (self.planes(shape), self.map(shape));
        let node = ApplyNode { dims, x, factors, residual, relu, y, collect, backward: None };
        self.nodes.push(Node::Apply(node));
        y
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
        let (residual, relu) = (residual(step, values)?, step.relu);
        let alone = readers[input] == 1;
        match (&step.layer, values[input]) {
            (Layer::BatchNorm(_, bn), Value::Map(x)) => {
                Ok(Value::Map(self.norm(bn, x, shape, None, residual, relu)?))
            }
            (Layer::BatchNorm(_, bn), Value::Row(x)) if residual.is_none() => {
                check_row_norm(shape[0])?;
                let (norm, y) = (self.batch_norm(bn, shape)?, self.sizes.row_like(x));
                let node = RowNormNode { norm, x, relu, y, backward: None };
                self.nodes.push(Node::RowNorm(node));
                Ok(Value::Row(y))
            }
            (Layer::Identity, Value::Map(x)) => match self.nodes.last_mut() {
                Some(Node::Apply(node)) if node.y == x && alone && node.takes_more() => {
                    (node.residual, node.relu) = (residual, relu);
                    Ok(Value::Map(x))
                }
                _ => Ok(Value::Map(self.apply(x, shape, None, residual, relu, false))),
            },
            (Layer::Identity, Value::Row(x)) if relu && residual.is_none() => {
                match self.nodes.last_mut() {
                    Some(Node::Linear(linear)) if linear.y == x && alone => {
                        linear.relu = true;
                        Ok(Value::Row(x))
                    }
                    _ => unsupported("a ReLU of vectors that follows no linear layer"),
                }
            }
            (layer, _) if residual.is_some() || relu => {
                unsupported(format!("training {}", layer_name(layer)))
            }
            _ => self.plain_layer(step, shapes, values),
        }
    }
}
