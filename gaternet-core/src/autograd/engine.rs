//! The walk.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use gaternet_kernels::Isa;
use gaternet_kernels::cpu::elementwise;

use super::{Gradients, Node};
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// A node whose gradient is known in part or whole, ordered by creation.
struct Pending(Arc<Node>);

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id().cmp(&other.0.id())
    }
}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pending {}

/// Gradients of the scalar `root` with respect to its leaves and to `retained`.
///
/// Nodes are taken youngest first. Whatever used a node's value is younger, so a node's gradient is
/// complete when it is taken, and the order of its sum is fixed.
pub(crate) fn backward(root: &Tensor, retained: &[&Tensor]) -> Result<Gradients> {
    if root.len() != 1 {
        return Err(Error::Shape {
            op: "backward",
            rule: "only a scalar has gradients",
            got: root.shape().to_string(),
        });
    }
    let Some(node) = root.node() else {
        return Err(Error::MissingGradient {
            what: "the loss".to_owned(),
            rule: "it was computed without tracking (see Ctx)",
        });
    };
    let retained: HashSet<u64> =
        retained.iter().filter_map(|tensor| tensor.node()).map(|node| node.id()).collect();
    let mut gradients = Gradients::default();
    let mut sums = HashMap::from([(node.id(), Tensor::full(root.shape(), 1.0)?)]);
    let mut pending = BinaryHeap::from([Pending(node.clone())]);
    while let Some(Pending(node)) = pending.pop() {
        let Some(gradient) = sums.remove(&node.id()) else { continue };
        let Some(op) = node.backward() else {
            gradients.insert(node.id(), gradient);
            continue;
        };
        if retained.contains(&node.id()) {
            gradients.insert(node.id(), gradient.clone());
        }
        let needs: Vec<bool> = node.parents().iter().map(Option::is_some).collect();
        let inputs = op.backward(gradient, &needs)?;
        for (parent, gradient) in node.parents().iter().zip(inputs) {
            let Some(parent) = parent else { continue };
            let gradient = gradient.ok_or_else(|| Error::MissingGradient {
                what: format!("an input of {}", op.name()),
                rule: "the op did not compute the gradient it was asked for",
            })?;
            let sum = match sums.remove(&parent.id()) {
                Some(sum) => add(op.name(), sum, gradient)?,
                None => {
                    pending.push(Pending(parent.clone()));
                    gradient
                }
            };
            sums.insert(parent.id(), sum);
        }
    }
    Ok(gradients)
}

/// `sum + gradient`, in place where one of them is not shared.
fn add(op: &'static str, mut sum: Tensor, mut gradient: Tensor) -> Result<Tensor> {
    if sum.shape() != gradient.shape() {
        return Err(Error::Shape {
            op,
            rule: "gradients of one tensor must have one shape",
            got: format!("{} and {}", sum.shape(), gradient.shape()),
        });
    }
    let isa = Isa::current()?;
    if let Some(data) = sum.unique_data() {
        elementwise::add_assign(isa, data, gradient.data())?;
        return Ok(sum);
    }
    // f32 addition commutes, so the order of the sum is the same.
    if let Some(data) = gradient.unique_data() {
        elementwise::add_assign(isa, data, sum.data())?;
        return Ok(gradient);
    }
    let mut data = storage::take(sum.len());
    elementwise::add(isa, sum.data(), gradient.data(), &mut data)?;
    Tensor::new(data, sum.shape())
}
