//! The nodes of layers that have neither residual nor ReLU.

use gaternet_kernels::LinearDims;
use gaternet_kernels::cuda::Activation;

use super::apply::Factors;
use super::builder::{Builder, Value};
use super::map::{MapNode, PairNode, Pass};
use super::node::Node;
use super::rows::{LinearNode, PoolNode, SigmoidNode};
use crate::cuda::Result;
use crate::cuda::buffers::Map;
use crate::cuda::error::unsupported;
use crate::cuda::maps::{MapLayer, PairLayer};
use crate::cuda::steps::{concat, layer_name};
use crate::network::{Layer, Step};

impl<T: Activation> Builder<'_, T> {
    pub(super) fn plain_layer(
        &mut self,
        step: &Step,
        shapes: &[[usize; 3]],
        values: &[Value],
    ) -> Result<Value> {
        let shape = shapes[step.inputs[0].0];
        let second = step.inputs.get(1).map(|input| values[input.0]);
        match (&step.layer, values[step.inputs[0].0], second) {
            (Layer::Linear(_, linear), Value::Row(x), _) => {
                let (in_features, out_features) = (shape[0], step.channels);
                let dims = LinearDims { batch: self.batch, in_features, out_features };
                let y = self.sizes.row(self.batch * out_features);
                let params = self.weights.linear(linear)?;
                let node = LinearNode { params, dims, x, relu: false, y, backward: None };
                self.nodes.push(Node::Linear(node));
                Ok(Value::Row(y))
            }
            (Layer::GlobalAvgPool, Value::Map(x), _) => {
                let y = self.sizes.row(self.batch * shape[0]);
                let node = PoolNode { dims: self.planes(shape), x, y, backward: None };
                self.nodes.push(Node::Pool(node));
                Ok(Value::Row(y))
            }
            (Layer::Sigmoid, Value::Row(x), _) => {
                let y = self.sizes.row_like(x);
                self.nodes.push(Node::Sigmoid(SigmoidNode { x, y, backward: None }));
                Ok(Value::Row(y))
            }
            (Layer::ScaleChannels, Value::Map(x), Some(Value::Row(factors))) => {
                let factors = Some(Factors::Row(factors));
                Ok(Value::Map(self.apply(x, shape, factors, None, false, false)))
            }
            (Layer::Dropout(0.0), value, _) => Ok(value),
            (Layer::Dropout(p), Value::Map(x), _) => {
                let pass = Pass::Dropout { p: *p, stream: self.stream() };
                Ok(Value::Map(self.map_node(pass, x, shape, shape)))
            }
            (Layer::ShakeShake, Value::Map(a), Some(Value::Map(b))) => {
                let stream = Some(self.stream());
                Ok(Value::Map(self.pair_node(PairLayer::Mix, stream, [a, b], shape)))
            }
            (layer @ Layer::Concat, ..) => {
                let pair = |layer, parts, shape| self.pair_node(layer, None, parts, shape);
                match concat(step, shapes, values, pair) {
                    Some(all) => Ok(Value::Map(all)),
                    None => unsupported(format!("training {}", layer_name(layer))),
                }
            }
            (layer, Value::Map(x), _) => {
                let Some(layer) = MapLayer::new(layer, self.batch, shape)? else {
                    return unsupported(format!("training {}", layer_name(layer)));
                };
                let [h, w] = layer.out_size();
                Ok(Value::Map(self.map_node(Pass::Layer(layer), x, shape, [shape[0], h, w])))
            }
            (layer, ..) => unsupported(format!("training {}", layer_name(layer))),
        }
    }

    fn map_node(&mut self, pass: Pass, x: Map, shape: [usize; 3], out: [usize; 3]) -> Map {
        let (dims, y) = (self.planes(shape), self.map(out));
        if self.constant.contains(&x) {
            self.constant.insert(y);
        }
        self.nodes.push(Node::Map(MapNode { pass, dims, x, y, backward: None }));
        y
    }

    fn pair_node(
        &mut self,
        layer: PairLayer,
        stream: Option<u32>,
        parts: [Map; 2],
        shape: [usize; 3],
    ) -> Map {
        let (dims, y) = (self.planes(shape), self.map(shape));
        self.nodes.push(Node::Pair(PairNode { layer, stream, dims, parts, y, backward: None }));
        y
    }

    /// A number that no other layer of the step has.
    fn stream(&mut self) -> u32 {
        self.streams += 1;
        self.streams - 1
    }
}
