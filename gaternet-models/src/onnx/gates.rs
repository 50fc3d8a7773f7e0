//! From pre-activations to gates and masks.

use gaternet_core::gate::{Estimator, hard_gate};

use super::graph::{Attribute, Graph, int_list};
use super::network::{Masks, add_planes};
use super::proto;
use crate::gate_plan::GatePlan;

/// How a slot's pre-activations become gates.
enum Rule {
    /// From this value on, they are open.
    From(String),
    /// So many of the largest are open: the values of closed and of open gates.
    Largest([String; 2]),
}

/// The gates of evaluation (N, c) of pre-activations (N, c), and the masks they are.
pub(super) fn add<'a>(
    graph: &mut Graph,
    preact: String,
    plan: &'a GatePlan,
    estimator: Estimator,
) -> (String, Masks<'a>) {
    let name = |conv: &str, part: &str| format!("gate.{conv}.{part}");
    let convs = || plan.slots().iter().map(|slot| slot.conv.as_str());
    let rule = match estimator {
        Estimator::TopK { .. } => Rule::Largest(
            [("gate.closed", 0.0), ("gate.open", 1.0)]
                .map(|(name, value)| graph.floats(name, &[], &[value])),
        ),
        Estimator::SemHash | Estimator::StraightThrough | Estimator::GumbelSigmoid { .. } => {
            Rule::From(graph.floats("gate.least", &[], &[least_open()]))
        }
    };
    let widths = graph.ints("gate.widths", &int_list(&plan.widths()));
    let slots: Vec<_> = convs().map(|conv| name(conv, "preact")).collect();
    graph.node_with_outputs("Split", "gate.slots", [preact, widths], [axis()], slots.clone());
    let (mut gates, mut masks) = (Vec::new(), Vec::new());
    for (slot, preact) in plan.slots().iter().zip(slots) {
        let name = |part: &str| name(&slot.conv, part);
        let values = match &rule {
            Rule::From(least) => {
                let inputs = [preact, least.clone()];
                let open = graph.node("GreaterOrEqual", &name("open"), inputs, []);
                let to = ("to", Attribute::Int(proto::FLOAT.into()));
                graph.node("Cast", &name("value"), [open], [to])
            }
            Rule::Largest(values) => {
                let count = estimator.fixed_count(slot.columns.len()).unwrap_or_default();
                add_largest(graph, name, preact, count, values)
            }
        };
        masks.push(add_planes(graph, &name("planes"), values.clone()));
        gates.push(values);
    }
    let gates = graph.node("Concat", "gate.values", gates, [axis()]);
    (gates, Masks { plan, slots: masks })
}

/// Ones at the indices of the `count` largest, the first of equals, among zeros.
fn add_largest(
    graph: &mut Graph,
    name: impl Fn(&str) -> String,
    preact: String,
    count: usize,
    [closed, open]: &[String; 2],
) -> String {
    let count = graph.ints(&name("count"), &[count as i64]);
    let indices = name("indices");
    let outputs = vec![name("largest"), indices.clone()];
    graph.node_with_outputs("TopK", &name("top"), [preact.clone(), count], [axis()], outputs);
    let mut fill = |part: &str, value: &String, like: String| {
        let shape = graph.node("Shape", &name(&format!("{part}.shape")), [like], []);
        graph.node("Expand", &name(part), [value.clone(), shape], [])
    };
    let (zeros, ones) = (fill("zeros", closed, preact), fill("ones", open, indices.clone()));
    graph.node("ScatterElements", &name("value"), [zeros, indices, ones], [axis()])
}

fn axis() -> (&'static str, Attribute) {
    ("axis", Attribute::Int(1))
}

/// The least pre-activation that [`hard_gate`] opens, slightly below 0.
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
        for preact in floats {
            assert_eq!(hard_gate(preact) == 1.0, preact >= least, "{preact:e}, least {least:e}");
        }
    }
}
