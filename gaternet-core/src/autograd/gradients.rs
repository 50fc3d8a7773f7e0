//! The result of a backward pass.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::parameter::Parameter;
use crate::tensor::Tensor;

/// Gradients by parameter, leaf and retained tensor.
///
/// They can be changed between the backward pass and the step of an optimiser, to clip them, to add
/// those of several batches or to sum them over several processes:
///
/// ```
/// use gaternet_core::{Ctx, Parameter, Tensor, ops};
///
/// # fn main() -> gaternet_core::Result<()> {
/// let weight = Parameter::new(Tensor::full([3], 2.0)?);
/// let mut gradients = ops::sum(&weight.value(&Ctx::train(0)))?.backward()?;
/// for (_, gradient) in gradients.iter_mut() {
///     gradient.iter_mut().for_each(|x| *x = x.clamp(-0.5, 0.5));
/// }
/// assert_eq!(gradients.get(&weight)?.data(), [0.5; 3]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Gradients(BTreeMap<u64, Tensor>);

impl Gradients {
    /// No gradients, for code that finds them by itself and [inserts](Self::insert) them.
    #[must_use]
    pub fn new() -> Gradients {
        Gradients::default()
    }

    /// The gradient of a parameter.
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if the loss does not depend on it.
    pub fn get(&self, parameter: &Parameter) -> Result<&Tensor> {
        self.0.get(&parameter.id()).ok_or_else(|| missing(parameter))
    }

    /// The elements of the gradient of a parameter, for writing.
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if the loss does not depend on it.
    pub fn get_mut(&mut self, parameter: &Parameter) -> Result<&mut [f32]> {
        let gradient = self.0.get_mut(&parameter.id());
        gradient.map(Tensor::data_mut).ok_or_else(|| missing(parameter))
    }

    /// The gradient of a leaf or of a tensor that was retained.
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if the loss does not depend on it or it was not retained.
    pub fn of(&self, tensor: &Tensor) -> Result<&Tensor> {
        let found = tensor.node().and_then(|node| self.0.get(&node.id()));
        found.ok_or_else(|| Error::MissingGradient {
            what: format!("a tensor of shape {}", tensor.shape()),
            rule: if tensor.requires_grad() {
                "the loss was not computed from it, or it is an intermediate that was not retained"
            } else {
                "it is in no graph"
            },
        })
    }

    /// Makes `gradient` the gradient of a parameter, and returns the one that it had.
    ///
    /// # Errors
    /// [`Error::Shape`] if the gradient has not the parameter's shape; then nothing has changed.
    pub fn insert(&mut self, parameter: &Parameter, gradient: &Tensor) -> Result<Option<Tensor>> {
        let expected = parameter.shape();
        if gradient.shape() != &expected {
            return Err(Error::Shape {
                op: "gradients",
                rule: "a gradient must have its parameter's shape",
                got: format!("{} for {expected}", gradient.shape()),
            });
        }
        Ok(self.0.insert(parameter.id(), gradient.detach()))
    }

    /// Every gradient, with the [`Parameter::id`] of its parameter (leaves and retained tensors
    /// have numbers of their own), in the order in which those were made: the same in every process
    /// that builds one model.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Tensor)> {
        self.0.iter().map(|(&id, gradient)| (id, gradient))
    }

    /// [`iter`](Self::iter), with the elements of each gradient for writing.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut [f32])> {
        self.0.iter_mut().map(|(&id, gradient)| (id, gradient.data_mut()))
    }

    /// Number of gradients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no gradient.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes `gradient` that of the node `id`.
    pub(super) fn set(&mut self, id: u64, gradient: Tensor) {
        self.0.insert(id, gradient);
    }
}

fn missing(parameter: &Parameter) -> Error {
    Error::MissingGradient {
        what: format!("a parameter of shape {}", parameter.shape()),
        rule: "the loss was not computed from it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::Ctx;
    use crate::ops;

    fn parameters() -> [Parameter; 2] {
        [2, 3].map(|len| Parameter::new(Tensor::full([len], 1.0).expect("small")))
    }

    /// Ones for both.
    fn gradients([a, b]: &[Parameter; 2]) -> Gradients {
        let ctx = Ctx::train(0);
        // The younger first: the order of the graph is not that of the parameters.
        let sums = [b, a].map(|parameter| ops::sum(&parameter.value(&ctx)).expect("any"));
        ops::add(&sums[0], &sums[1]).and_then(|loss| loss.backward()).expect("in a graph")
    }

    #[test]
    fn all_gradients_come_in_the_order_of_their_parameters() {
        let parameters = parameters();
        let gradients = gradients(&parameters);
        let got: Vec<_> = gradients.iter().map(|(id, tensor)| (id, tensor.len())).collect();
        assert_eq!(got, [(parameters[0].id(), 2), (parameters[1].id(), 3)]);
        assert_eq!((gradients.len(), gradients.is_empty()), (2, false));
    }

    #[test]
    fn what_is_written_is_what_is_read_and_other_tensors_keep_theirs() {
        let parameters = parameters();
        let mut gradients = gradients(&parameters);
        let before = gradients.get(&parameters[0]).expect("used").clone();
        for (_, gradient) in gradients.iter_mut() {
            gradient[0] = 5.0;
        }
        gradients.get_mut(&parameters[0]).expect("used")[1] = 7.0;
        assert_eq!(gradients.get(&parameters[0]).expect("used").data(), [5.0, 7.0]);
        assert_eq!(gradients.get(&parameters[1]).expect("used").data(), [5.0, 1.0, 1.0]);
        assert_eq!(before.data(), [1.0, 1.0]);
    }

    #[test]
    fn a_gradient_from_elsewhere_must_fit_its_parameter() {
        let [a, b] = parameters();
        let mut gradients = Gradients::new();
        assert!(gradients.is_empty());
        assert!(gradients.get_mut(&a).is_err(), "there is none to write");
        let ones = Tensor::full([2], 1.0).expect("small");
        assert!(gradients.insert(&a, &ones).expect("fits").is_none());
        let replaced = gradients.insert(&a, &Tensor::zeros([2]).expect("small")).expect("fits");
        assert_eq!(replaced.expect("was there").data(), [1.0, 1.0]);
        assert_eq!(gradients.get(&a).expect("inserted").data(), [0.0, 0.0]);
        let text = gradients.insert(&b, &ones).expect_err("2 are not 3").to_string();
        assert!(text.contains("(2,) for (3,)"), "{text}");
        assert!(gradients.get(&b).is_err());
    }
}
