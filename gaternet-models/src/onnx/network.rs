//! The steps of a network as nodes.

use gaternet_core::nn::{BatchNorm2d, Linear, scoped};
use gaternet_core::ops::Pool2dOptions;

use super::graph::{Attribute, Graph, int_list};
use crate::gate_plan::GatePlan;
use crate::network::{ConvLayer, Layer, Network, Step};
use crate::plan::fold;

/// The gates of a network, as values of the graph.
pub(super) struct Masks<'a> {
    pub(super) plan: &'a GatePlan,
    /// (N, F, 1, 1) of each slot, 0 or 1.
    pub(super) slots: Vec<String>,
}

/// Adds the steps; the value of the last is returned. Names of nodes and weights start with `prefix`.
pub(super) fn add(
    graph: &mut Graph,
    prefix: &str,
    network: &Network,
    images: String,
    masks: Option<&Masks<'_>>,
) -> String {
    let mut values = vec![images];
    for (at, step) in network.steps().iter().enumerate() {
        let name = match &step.layer {
            Layer::Conv(ConvLayer { name, .. })
            | Layer::BatchNorm(name, _)
            | Layer::Linear(name, _) => scoped(prefix, name),
            _ => scoped(prefix, &format!("step{at}")),
        };
        let output = add_step(graph, &name, step, &values, masks);
        values.push(output);
    }
    values.swap_remove(values.len() - 1)
}

fn add_step(
    graph: &mut Graph,
    name: &str,
    step: &Step,
    values: &[String],
    masks: Option<&Masks<'_>>,
) -> String {
    let input = |i: usize| values[step.inputs[i].0].clone();
    let part = |part: &str| format!("{name}.{part}");
    let y = match &step.layer {
        Layer::Conv(layer) => {
            let y = add_conv(graph, name, layer, input(0));
            let mask = masks.and_then(|masks| {
                Some(masks.slots[masks.plan.convs()[layer.number].filters?].clone())
            });
            match mask {
                // Of 0 and 1, it makes no difference; a runtime that knows fused layers finds one.
                Some(mask) if step.relu && step.residual.is_none() => {
                    let y = graph.node("Relu", &part("relu"), [y], []);
                    return graph.node("Mul", &part("gated"), [y, mask], []);
                }
                Some(mask) => graph.node("Mul", &part("gated"), [y, mask], []),
                None => y,
            }
        }
        Layer::BatchNorm(_, bn) => add_batch_norm(graph, name, bn, input(0)),
        Layer::Linear(_, linear) => add_linear(graph, name, linear, input(0)),
        // In inference a dropout does nothing.
        Layer::Identity | Layer::Dropout(_) => input(0),
        Layer::MaxPool(options) => graph.node("MaxPool", name, [input(0)], windows(options)),
        Layer::AvgPool(options) => {
            let zeros_count = ("count_include_pad", Attribute::Int(1));
            let attributes = windows(options).into_iter().chain([zeros_count]);
            graph.node("AveragePool", name, [input(0)], attributes)
        }
        Layer::GlobalAvgPool => {
            let mean = graph.node("GlobalAveragePool", &part("mean"), [input(0)], []);
            graph.node("Flatten", name, [mean], [("axis", Attribute::Int(1))])
        }
        Layer::Pad([left, right, top, bottom]) => {
            let pads = [0, 0, *top, *left, 0, 0, *bottom, *right].map(|pad| pad as i64);
            let pads = graph.ints(&part("pads"), &pads);
            graph.node("Pad", name, [input(0), pads], [])
        }
        Layer::Concat => {
            let inputs: Vec<_> = (0..step.inputs.len()).map(input).collect();
            graph.node("Concat", name, inputs, [("axis", Attribute::Int(1))])
        }
        Layer::Sigmoid => graph.node("Sigmoid", name, [input(0)], []),
        Layer::ScaleChannels => {
            let factors = add_planes(graph, &part("factors"), input(1));
            graph.node("Mul", name, [input(0), factors], [])
        }
        Layer::ShakeShake => {
            let sum = graph.node("Add", &part("sum"), [input(0), input(1)], []);
            let half = graph.floats(&part("half"), &[], &[0.5]);
            graph.node("Mul", name, [sum, half], [])
        }
    };
    let y = match step.residual {
        Some(residual) => graph.node("Add", &part("add"), [y, values[residual.0].clone()], []),
        None => y,
    };
    if step.relu { graph.node("Relu", &part("relu"), [y], []) } else { y }
}

/// Batch norm goes into weight and bias, as in an inference plan.
fn add_conv(graph: &mut Graph, name: &str, layer: &ConvLayer, x: String) -> String {
    let (shape, options) = (layer.conv.shape(), layer.conv.options());
    let (weight, bias) = fold(layer);
    let weight = graph.floats(&format!("{name}.weight"), &shape, &weight);
    let bias = graph.floats(&format!("{name}.bias"), &shape[..1], &bias);
    let [top, left] = options.padding;
    let attributes = [
        ("kernel_shape", Attribute::Ints(int_list(&shape[2..]))),
        ("strides", Attribute::Ints(int_list(&options.stride))),
        ("pads", Attribute::Ints(int_list(&[top, left, top, left]))),
    ];
    graph.node("Conv", name, [x, weight, bias], attributes)
}

fn add_batch_norm(graph: &mut Graph, name: &str, bn: &BatchNorm2d, x: String) -> String {
    let mut inputs = vec![x];
    for (part, values) in [
        ("weight", bn.weight().tensor()),
        ("bias", bn.bias().tensor()),
        ("running_mean", bn.running_mean().tensor()),
        ("running_var", bn.running_var().tensor()),
    ] {
        inputs.push(graph.floats(&format!("{name}.{part}"), values.dims(), values.data()));
    }
    let eps = ("epsilon", Attribute::Float(bn.eps()));
    graph.node("BatchNormalization", name, inputs, [eps])
}

fn add_linear(graph: &mut Graph, name: &str, linear: &Linear, x: String) -> String {
    let (weight, bias) = (linear.weight().tensor(), linear.bias().tensor());
    let weight = graph.floats(&format!("{name}.weight"), weight.dims(), weight.data());
    let bias = graph.floats(&format!("{name}.bias"), bias.dims(), bias.data());
    graph.node("Gemm", name, [x, weight, bias], [("transB", Attribute::Int(1))])
}

/// (N, C) -> (N, C, 1, 1), which multiplies planes.
pub(super) fn add_planes(graph: &mut Graph, name: &str, values: String) -> String {
    let axes = graph.ints(&format!("{name}.axes"), &[2, 3]);
    graph.node("Unsqueeze", name, [values, axes], [])
}

fn windows(options: &Pool2dOptions) -> [(&'static str, Attribute); 3] {
    let [top, left] = options.padding;
    [
        ("kernel_shape", Attribute::Ints(int_list(&options.kernel))),
        ("strides", Attribute::Ints(int_list(&options.stride))),
        ("pads", Attribute::Ints(int_list(&[top, left, top, left]))),
    ]
}
