//! The walk.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use gaternet_kernels::cpu::elementwise;

use super::{Gradients, Node};
use crate::error::{Error, Result};
use crate::ops;
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

impl Tensor {
    /// Gradients of this scalar with respect to every parameter and leaf it was computed from.
    /// Frees what the forward pass saved for it, so a graph can be walked once.
    ///
    /// # Errors
    /// [`Error::Shape`] if this is no scalar, [`Error::MissingGradient`] if it is in no graph or
    /// that was walked before, or the error of an op.
    pub fn backward(&self) -> Result<Gradients> {
        backward(self, &[])
    }

    /// [`backward`](Self::backward), keeping the gradients of these intermediate tensors too.
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub fn backward_retaining(&self, intermediates: &[&Tensor]) -> Result<Gradients> {
        backward(self, intermediates)
    }
}

/// Gradients of the scalar `root` with respect to its leaves and to `retained`.
///
/// Nodes are taken youngest first. Whatever used a node's value is younger, so a node's gradient is
/// complete when it is taken, and the order of its sum is fixed. What a node saved is freed when it
/// is done: the walk takes little memory beyond that of the forward pass, and happens once. All
/// gradients have the instruction set of the root.
fn backward(root: &Tensor, retained: &[&Tensor]) -> Result<Gradients> {
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
    let isa = root.own_isa();
    let mut sums = HashMap::from([(node.id(), Tensor::full(root.shape(), 1.0)?.on(isa))]);
    let mut pending = BinaryHeap::from([Pending(node.clone())]);
    while let Some(Pending(node)) = pending.pop() {
        let Some(gradient) = sums.remove(&node.id()) else { continue };
        if node.is_leaf() {
            gradients.set(node.id(), gradient);
            continue;
        }
        // Taken, so that what it saved is freed as the walk goes on.
        let Some(op) = node.take_op() else {
            return Err(Error::MissingGradient {
                what: "the loss".to_owned(),
                rule: "its graph was walked before, which frees it; repeat the forward pass",
            });
        };
        if retained.contains(&node.id()) {
            gradients.set(node.id(), gradient.clone());
        }
        let needs: Vec<bool> = node.parents().iter().map(Option::is_some).collect();
        let inputs = op.backward(gradient, &needs)?;
        for (parent, gradient) in node.parents().iter().zip(inputs) {
            let Some(parent) = parent else { continue };
            let gradient = gradient.ok_or_else(|| Error::MissingGradient {
                what: format!("an input of {}", op.name()),
                rule: "the op did not compute the gradient it was asked for",
            })?;
            let gradient = gradient.on(isa);
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
    let isa = ops::isa(&[&sum, &gradient])?;
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
    Ok(Tensor::new(data, sum.shape())?.on(sum.own_isa()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Backward;
    use crate::ctx::Ctx;
    use crate::parameter::Parameter;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values.to_vec(), [values.len()]).expect("one row")
    }

    fn gradients(y: &Tensor) -> Gradients {
        ops::sum(y).and_then(|loss| loss.backward()).expect("in a graph")
    }

    #[test]
    fn every_use_of_a_value_adds_to_its_gradient() {
        let x = tensor(&[2.0, 3.0]).leaf();
        // (x + x) · x + x = 2x² + x
        let doubled = ops::add(&x, &x).expect("one shape");
        let y = ops::mul(&doubled, &x).and_then(|p| ops::add(&p, &x)).expect("one shape");
        assert_eq!(gradients(&y).of(&x).expect("a leaf").data(), [9.0, 13.0]);
    }

    #[test]
    fn sums_in_place_leave_other_gradients_alone() {
        let (a, b) = (tensor(&[1.0]).leaf(), tensor(&[1.0]).leaf());
        // The gradient of `sum` is handed to both a and b; a has another use.
        let sum = ops::add(&a, &b).expect("one shape");
        let y = ops::add(&sum, &ops::scale(&a, 5.0).expect("any")).expect("one shape");
        let loss = ops::sum(&y).expect("any");
        let grads = loss.backward_retaining(&[&sum, &y]).expect("in a graph");
        for (tensor, want) in [(&a, 6.0), (&b, 1.0), (&sum, 1.0), (&y, 1.0)] {
            assert_eq!(grads.of(tensor).expect("a leaf or retained").data(), [want]);
        }
        let text = loss.backward().expect_err("a second walk").to_string();
        assert!(text.contains("repeat the forward pass"), "{text}");
    }

    #[test]
    fn a_parameter_has_one_gradient_however_often_it_is_read() {
        let parameter = Parameter::new(tensor(&[4.0]));
        let ctx = Ctx::train(0);
        let y = ops::mul(&parameter.value(&ctx), &parameter.clone().value(&ctx));
        let grads = gradients(&y.expect("one shape"));
        assert_eq!(grads.get(&parameter).expect("used").data(), [8.0]);
    }

    #[test]
    fn a_missing_gradient_is_an_error_that_says_why() {
        let (x, unused) = (tensor(&[1.0]).leaf(), tensor(&[1.0]).leaf());
        let middle = ops::scale(&x, 2.0).expect("any");
        let grads = gradients(&middle);
        let why = |result: Result<&Tensor>| result.expect_err("none").to_string();
        assert!(why(grads.of(&unused)).contains("not computed from it"));
        assert!(why(grads.of(&middle)).contains("not retained"));
        assert!(why(grads.of(&x.detach())).contains("in no graph"));
        assert!(why(grads.get(&Parameter::new(tensor(&[1.0, 2.0])))).contains("(2,)"));
    }

    #[test]
    fn only_a_tracked_scalar_has_gradients() {
        let x = tensor(&[1.0, 2.0]);
        assert!(x.leaf().backward().expect_err("2 elements").to_string().contains("(2,)"));
        let untracked = ops::sum(&x).expect("any");
        assert!(matches!(untracked.backward(), Err(Error::MissingGradient { .. })));
    }

    #[derive(Debug)]
    struct Forgetful;

    impl Backward for Forgetful {
        fn name(&self) -> &'static str {
            "forgetful"
        }

        fn backward(&self, _grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![None])
        }
    }

    #[test]
    fn an_op_that_forgets_a_gradient_is_named() {
        let x = tensor(&[1.0]).leaf();
        let y = Tensor::from_op(vec![1.0], [], &[&x], |_| Forgetful).expect("a scalar");
        let text = y.backward().expect_err("forgotten").to_string();
        assert!(text.contains("an input of forgetful"), "{text}");
    }

    #[test]
    fn a_deep_graph_overflows_no_stack() {
        let small_stack = std::thread::Builder::new().stack_size(128 * 1024);
        let deep = || {
            let x = tensor(&[1.0]).leaf();
            let mut y = x.clone();
            for _ in 0..100_000 {
                y = ops::mul(&y, &tensor(&[1.0])).expect("one shape");
            }
            gradients(&y).of(&x).expect("a leaf").data()[0]
        };
        let grad = small_stack.spawn(deep).expect("a thread").join().expect("no overflow");
        assert_eq!(grad, 1.0);
    }
}
