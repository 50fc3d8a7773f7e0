//! The launches of layers that have neither residual nor ReLU.

use gaternet_kernels::LinearDims;
use gaternet_kernels::cuda::Activation;

use super::builder::{Builder, Value};
use super::op::Op;
use super::weights::LinearWeights;
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
        let dims = self.planes(shape);
        let second = step.inputs.get(1).map(|input| values[input.0]);
        match (&step.layer, values[step.inputs[0].0], second) {
            (Layer::Dropout(_), value, _) => Ok(value),
            (Layer::Linear(_, linear), Value::Row(x), _) => {
                let (in_features, out_features) = (shape[0], step.channels);
                let dims = LinearDims { batch: self.batch, in_features, out_features };
                let y = self.sizes.row(self.batch * out_features);
                let weights = LinearWeights::new(self.device, linear)?;
                self.ops.push(Op::Linear { dims, weights, x, relu: false, y });
                Ok(Value::Row(y))
            }
            (Layer::GlobalAvgPool, Value::Map(x), _) => {
                let y = self.sizes.row(self.batch * shape[0]);
                self.ops.push(Op::GlobalPool { dims, x, y });
                Ok(Value::Row(y))
            }
            (Layer::Sigmoid, Value::Row(x), _) => {
                let y = self.sizes.row_like(x);
                self.ops.push(Op::Sigmoid { x, y });
                Ok(Value::Row(y))
            }
            (Layer::ScaleChannels, Value::Map(x), Some(Value::Row(factors))) => {
                let (factors, y) = (Some(factors), self.map(shape));
                let (live, residual, relu) = (None, None, false);
                self.ops.push(Op::Add { dims, live, factors, x, residual, relu, y });
                Ok(Value::Map(y))
            }
            (Layer::ShakeShake, Value::Map(a), Some(Value::Map(b))) => {
                Ok(Value::Map(self.pair(PairLayer::Mix, [a, b], shape)))
            }
            (layer @ Layer::Concat, ..) => {
                let pair = |layer, parts, shape| self.pair(layer, parts, shape);
                match concat(step, shapes, values, pair) {
                    Some(all) => Ok(Value::Map(all)),
                    None => unsupported(layer_name(layer)),
                }
            }
            (layer, Value::Map(x), _) => {
                let Some(layer) = MapLayer::new(layer, self.batch, shape)? else {
                    return unsupported(layer_name(layer));
                };
                let [h, w] = layer.out_size();
                let y = self.map([shape[0], h, w]);
                self.ops.push(Op::Map { layer, x, y });
                Ok(Value::Map(y))
            }
            (layer, ..) => unsupported(layer_name(layer)),
        }
    }

    fn pair(&mut self, layer: PairLayer, parts: [Map; 2], shape: [usize; 3]) -> Map {
        let (dims, y) = (self.planes(shape), self.map(shape));
        self.ops.push(Op::Pair { layer, dims, parts, y });
        y
    }
}
