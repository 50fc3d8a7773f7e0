//! The nodes from gate logits to gates and masks.

use gaternet_core::gate::hard_gate;

use super::graph::{Attribute, Graph, int_list};
use super::proto;
use crate::gating::gate_plan::GatePlan;
use crate::gating::gate_rule::{GateRule, Selection};

/// Adds the gates of evaluation (N, c) of gate logits (N, outputs of the gater), and their masks
/// (N, F, 1, 1) for each gated layer.
pub(super) fn add(
    graph: &mut Graph,
    gate_logits: String,
    plan: &GatePlan,
    rule: &GateRule,
) -> (String, Vec<String>) {
    let name = |conv: &str, part: &str| format!("gate.{conv}.{part}");
    let convs = || plan.layers().iter().map(|layer| layer.conv.as_str());
    // A threshold compares with the least logit that opens a gate; else all gates start at 0.
    let start = match rule.selection() {
        Selection::Largest => graph.floats("gate.closed", &[], &[0.0]),
        Selection::Threshold => graph.floats("gate.least", &[], &[least_open()]),
    };
    let open = rule.ranks().then(|| graph.floats("gate.open", &[], &[1.0]));
    let widths = graph.ints("gate.widths", &int_list(rule.widths()));
    let layers: Vec<_> = convs().map(|conv| name(conv, "logits")).collect();
    graph.node_with_outputs(
        "Split",
        "gate.layers",
        [gate_logits, widths],
        [axis()],
        layers.clone(),
    );
    let (mut gates, mut masks) = (Vec::new(), Vec::new());
    for (layer, gate_logits) in plan.layers().iter().zip(layers) {
        let name = |part: &str| name(&layer.conv, part);
        let mut values = match rule.selection() {
            Selection::Threshold => {
                let inputs = [gate_logits.clone(), start.clone()];
                let open = graph.node("GreaterOrEqual", &name("open"), inputs, []);
                let to = ("to", Attribute::Int(proto::FLOAT.into()));
                graph.node("Cast", &name("value"), [open], [to])
            }
            Selection::Largest => fill(graph, &name("zeros"), &start, gate_logits.clone()),
        };
        let count = rule.largest(layer.outputs.len());
        if let (Some(open), 1..) = (&open, count) {
            values = add_largest(graph, name, gate_logits, count, (values, open));
        }
        if plan.filters_per_gate() > 1 {
            // The index of the shared gate of each filter.
            let shared: Vec<_> =
                (0..layer.columns.len()).map(|f| (f / plan.filters_per_gate()) as i64).collect();
            let shared = graph.ints(&name("shared"), &shared);
            values = graph.node("Gather", &name("filters"), [values, shared], [axis()]);
        }
        masks.push(graph.planes(&name("planes"), values.clone()));
        gates.push(values);
    }
    let gates = graph.node("Concat", "gate.values", gates, [axis()]);
    (gates, masks)
}

/// Adds `values` with ones at the indices of the `count` largest, the first of equals.
fn add_largest(
    graph: &mut Graph,
    name: impl Fn(&str) -> String,
    gate_logits: String,
    count: usize,
    (values, open): (String, &String),
) -> String {
    let count = graph.ints(&name("count"), &[count as i64]);
    let indices = name("indices");
    let outputs = vec![name("largest"), indices.clone()];
    graph.node_with_outputs("TopK", &name("top"), [gate_logits, count], [axis()], outputs);
    let ones = fill(graph, &name("ones"), open, indices.clone());
    graph.node("ScatterElements", &name("opened"), [values, indices, ones], [axis()])
}

/// Adds `value` in the shape of `like`.
fn fill(graph: &mut Graph, name: &str, value: &str, like: String) -> String {
    let shape = graph.node("Shape", &format!("{name}.shape"), [like], []);
    graph.node("Expand", name, [value.to_owned(), shape], [])
}

fn axis() -> (&'static str, Attribute) {
    ("axis", Attribute::Int(1))
}

/// The least gate logit that [`hard_gate`] opens, slightly below 0.
fn least_open() -> f32 {
    let (mut closed, mut open) = (-1.0_f32, 0.0);
    loop {
        let middle = f32::midpoint(closed, open);
        if middle == closed || middle == open {
            return open;
        }
        *(if hard_gate(middle) == 1.0 { &mut open } else { &mut closed }) = middle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_open_where_those_of_evaluation_do() {
        let least = least_open();
        assert!(least < 0.0 && least > -1e-4, "{least}");
        let floats = [least.next_down(), least, least.next_up(), -1.0, -1e-4, -1e-5, 0.0, 1.0];
        for gate_logits in floats {
            assert_eq!(
                hard_gate(gate_logits) == 1.0,
                gate_logits >= least,
                "{gate_logits:e}, least {least:e}"
            );
        }
    }
}
