//! Programs as nodes of a graph.

use gaternet_core::Result;
use gaternet_core::nn::{BatchNorm2d, scoped};

use super::graph::{Attribute, Graph};
use super::step::OnnxStep;
use crate::program::gate::GatePosition;
use crate::program::{Program, Step};

/// Adds the steps and returns the output of the last. Names of nodes and weights start with
/// `prefix`; `masks` are (N, F, 1, 1) for each gated layer, 0 or 1.
pub(super) fn add(
    graph: &mut Graph,
    prefix: &str,
    program: &Program,
    images: String,
    masks: &[String],
) -> Result<String> {
    let mut values = vec![images];
    for step in program.steps() {
        let output = add_step(graph, prefix, step, &values, masks);
        values.push(output.map_err(|error| error.at(&step.name))?);
    }
    Ok(values.swap_remove(program.output()))
}

fn add_step(
    graph: &mut Graph,
    prefix: &str,
    step: &Step,
    values: &[String],
    masks: &[String],
) -> Result<String> {
    let name = scoped(prefix, &step.name);
    let part = |part: &str| format!("{name}.{part}");
    let inputs = step.inputs.iter().map(|input| values[*input].clone()).collect();
    let norm = step.norm.as_ref();
    let mut at = OnnxStep { graph, name: name.clone(), inputs, norm };
    let y = step.op.onnx(&mut at)?;
    let OnnxStep { graph, norm, inputs, .. } = at;
    let y = match norm {
        // A batch norm without an op shares its name with the step.
        Some(norm) if inputs[0] == y => add_batch_norm(graph, &name, norm, y),
        Some(norm) => add_batch_norm(graph, &part("norm"), norm, y),
        None => y,
    };
    let mask = |graph: &mut Graph, y: String, position| match step.gate {
        Some(gate) if gate.position == position => {
            graph.node("Mul", &part("gated"), [y, masks[gate.layer].clone()], [])
        }
        _ => y,
    };
    let y = mask(graph, y, GatePosition::BeforeSum);
    let y = match step.residual {
        Some(residual) => graph.node("Add", &part("add"), [y, values[residual].clone()], []),
        None => y,
    };
    let y = if step.relu { graph.node("Relu", &part("relu"), [y], []) } else { y };
    Ok(mask(graph, y, GatePosition::AfterRelu))
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
