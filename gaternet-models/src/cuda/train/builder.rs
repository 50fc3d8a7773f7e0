//! The nodes of a training step: everything is computed, and each has its gradient.

use std::collections::{HashMap, HashSet};

use gaternet_core::nn::{BatchNorm2d, Linear};
use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{Activation, batch_norm};

use super::apply::ApplyNode;
use super::conv::{ConvNode, GatedInput};
use super::gates::GatesNode;
use super::gating::{counts_evaluation, gate_scratch};
use super::map::{MapNode, PairNode, Pass};
use super::node::Node;
use super::norm::{BatchNorm, NormNode};
use super::row_norm::RowNormNode;
use super::rows::{LinearNode, PoolNode, SigmoidNode};
use super::weights::Weights;
use crate::cuda::buffers::Sizes;
use crate::cuda::emit::{ConvStep, Emit, Rest};
use crate::cuda::error::Result;
use crate::cuda::maps::{MapLayer, PairLayer};
use crate::cuda::value::{Factors, Map, Row, Value};
use crate::gating::gated_net::GatedNet;

/// Collects the nodes of a step for one batch size.
pub(super) struct Builder<'a, T> {
    weights: &'a mut Weights<T>,
    pub(super) sizes: Sizes,
    pub(super) nodes: Vec<Node>,
    /// Values that depend on no parameter.
    pub(super) constant: HashSet<Map>,
    /// For each value, the rows of the weight that computes it.
    pub(super) computed_by: HashMap<Map, Rows>,
    /// For each compact map, what it was made of.
    gated_inputs: HashMap<Map, GatedInput>,
    /// Number of layers that draw random numbers.
    streams: u32,
}

impl<'a, T: Activation> Builder<'a, T> {
    pub(super) fn new(weights: &'a mut Weights<T>, batch: usize) -> Builder<'a, T> {
        Builder {
            weights,
            sizes: Sizes::new(batch),
            nodes: Vec::new(),
            constant: HashSet::new(),
            computed_by: HashMap::new(),
            gated_inputs: HashMap::new(),
            streams: 0,
        }
    }

    /// Adds the images, (C, H, W).
    pub(super) fn images(&mut self, shape: [usize; 3]) -> Map {
        let images = self.sizes.maps(shape);
        self.constant.insert(images);
        images
    }

    /// Adds the gates of `model`, made of its gater's output.
    pub(super) fn gates(&mut self, gate_logits: Row, model: &GatedNet) {
        let [grad_gate_logits, noisy] = [(); 2].map(|()| self.sizes.row_like(gate_logits));
        let gates = model.plan().gates();
        let evaluated = counts_evaluation(model.config()).then(|| self.sizes.rows(gates));
        self.nodes.push(Node::Gates(GatesNode { gate_logits, grad_gate_logits, noisy, evaluated }));
        self.sizes.need_scratch(gate_scratch(model, self.sizes.batch));
    }

    fn batch_norm(&mut self, bn: &BatchNorm2d, shape: [usize; 3]) -> Result<BatchNorm> {
        let (number, dims) = (self.weights.norm(bn)?, self.sizes.planes(shape));
        self.sizes.need_scratch(batch_norm::scratch_len(dims));
        Ok(BatchNorm { number, dims })
    }

    fn push_apply(&mut self, x: Map, shape: [usize; 3], rest: Applied) -> Map {
        let (dims, y) = (self.sizes.planes(shape), self.sizes.maps(shape));
        let Applied { factors, residual, relu, compact } = rest;
        let node = ApplyNode { dims, x, factors, residual, relu, y, compact, backward: None };
        self.nodes.push(Node::Apply(node));
        y
    }

    fn map_node(&mut self, pass: Pass, x: Map, shape: [usize; 3], out: [usize; 3]) -> Map {
        let (dims, y) = (self.sizes.planes(shape), self.sizes.maps(out));
        if self.constant.contains(&x) {
            self.constant.insert(y);
        }
        self.nodes.push(Node::Map(MapNode { pass, dims, x, y, backward: None }));
        y
    }

    /// A number that no other layer of the step has, for its random numbers.
    fn stream(&mut self) -> u32 {
        self.streams += 1;
        self.streams - 1
    }
}

#[derive(Default)]
struct Applied {
    factors: Option<Factors>,
    residual: Option<Map>,
    relu: bool,
    compact: bool,
}

impl<T: Activation> Emit for Builder<'_, T> {
    fn batch(&self) -> usize {
        self.sizes.batch
    }

    fn purpose(&self) -> &'static str {
        "training "
    }

    fn conv(&mut self, conv: ConvStep<'_>, _: &mut Rest<'_>) -> Result<Value> {
        let ConvStep { conv: host, dims, rows, x, active, shape, .. } = conv;
        if let Some(layer) = active {
            self.sizes.lists.insert(layer, dims.in_channels());
        }
        let (y, weight) = (self.sizes.maps(shape), self.weights.conv(host, &dims, rows)?);
        let input = active.map(|_| self.gated_inputs[&x]);
        self.nodes.push(Node::Conv(ConvNode { weight, dims, rows, x, input, y, backward: None }));
        self.computed_by.insert(y, rows);
        Ok(Value::Map(y))
    }

    fn norm(
        &mut self,
        norm: &BatchNorm2d,
        x: Map,
        shape: [usize; 3],
        (gates, residual, relu): (Option<usize>, Option<Map>, bool),
    ) -> Result<Map> {
        let (norm, y) = (self.batch_norm(norm, shape)?, self.sizes.maps(shape));
        let node = NormNode { norm, x, gates, residual, relu, y, backward: None };
        self.nodes.push(Node::Norm(node));
        Ok(y)
    }

    fn row_norm(&mut self, norm: &BatchNorm2d, x: Row, channels: usize, relu: bool) -> Result<Row> {
        let (norm, y) = (self.batch_norm(norm, [channels, 1, 1])?, self.sizes.row_like(x));
        self.nodes.push(Node::RowNorm(RowNormNode { norm, x, relu, y, backward: None }));
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
        Ok(self.push_apply(x, shape, Applied { factors, residual, relu, compact: false }))
    }

    fn extend(&mut self, x: Map, residual: Option<Map>, relu: bool) -> bool {
        match self.nodes.last_mut() {
            Some(Node::Apply(node)) if node.y == x && node.takes_more() => {
                (node.residual, node.relu) = (residual, relu);
                true
            }
            _ => false,
        }
    }

    fn extend_linear(&mut self, x: Row) -> bool {
        match self.nodes.last_mut() {
            Some(Node::Linear(linear)) if linear.y == x => {
                linear.relu = true;
                true
            }
            _ => false,
        }
    }

    fn gate(&mut self, h: Map, shape: [usize; 3], layer: usize, compact: bool) -> Result<Value> {
        let factors = Some(Factors::Gates(layer));
        let applied = Applied { factors, compact, ..Applied::default() };
        let gated = self.push_apply(h, shape, applied);
        if !compact {
            return Ok(Value::Map(gated));
        }
        self.sizes.lists.insert(layer, shape[0]);
        self.gated_inputs.insert(gated, GatedInput { h, layer });
        Ok(Value::Active(gated, layer))
    }

    fn map(&mut self, layer: MapLayer, x: Map, shape: [usize; 3]) -> Map {
        let [h, w] = layer.out_size();
        self.map_node(Pass::Layer(layer), x, shape, [shape[0], h, w])
    }

    fn pair(&mut self, layer: PairLayer, parts: [Map; 2], shape: [usize; 3]) -> Map {
        let stream = layer.draws().then(|| self.stream());
        let (dims, y) = (self.sizes.planes(shape), self.sizes.maps(shape));
        self.nodes.push(Node::Pair(PairNode { layer, stream, dims, parts, y, backward: None }));
        y
    }

    fn dropout(&mut self, p: f32, x: Map, shape: [usize; 3]) -> Result<Map> {
        let pass = Pass::Dropout { p, stream: self.stream() };
        Ok(self.map_node(pass, x, shape, shape))
    }

    fn global_avg_pool(&mut self, x: Map, shape: [usize; 3]) -> Row {
        let (dims, y) = (self.sizes.planes(shape), self.sizes.rows(shape[0]));
        self.nodes.push(Node::Pool(PoolNode { dims, x, y, backward: None }));
        y
    }

    fn linear(&mut self, linear: &Linear, x: Row) -> Result<Row> {
        let (params, dims) = (self.weights.linear(linear)?, self.sizes.linear(linear));
        let y = self.sizes.rows(dims.out_features);
        self.nodes.push(Node::Linear(LinearNode {
            params,
            dims,
            x,
            relu: false,
            y,
            backward: None,
        }));
        Ok(y)
    }

    fn sigmoid(&mut self, x: Row) -> Row {
        let y = self.sizes.row_like(x);
        self.nodes.push(Node::Sigmoid(SigmoidNode { x, y, backward: None }));
        y
    }
}
