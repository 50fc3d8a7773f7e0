//! The gates that a target counts.

use crate::autograd::Backward;
use crate::error::Result;
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// The values of `evaluated` (N, C) with the gradient of `gates` (N, C): a loss of it looks at the
/// gates of evaluation, and trains those of the training pass (straight through, Bengio et al.
/// 2013, arXiv 1308.3432).
///
/// The noise of a training opens another fraction of gates than evaluation does, most of all where
/// many logits are near 0: gates that meet a target with noise need not meet it without.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the two differ in shape.
pub fn counted(gates: &Tensor, evaluated: &Tensor) -> Result<Tensor> {
    let rule = "the gates of evaluation must be those of the pass";
    ops::check_shape("counted", rule, evaluated, gates.shape())?;
    let mut values = storage::take(gates.len());
    values.copy_from_slice(evaluated.data());
    Tensor::from_op(values, gates.shape(), &[gates], |_| Counted)
}

#[derive(Debug)]
struct Counted;

impl Backward for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_evaluation_and_gradients_of_training() {
        let gates = Tensor::new(vec![0.9, 0.2, 0.6], [1, 3]).expect("3 values").leaf();
        let evaluated = Tensor::new(vec![1.0, 0.0, 0.0], [1, 3]).expect("3 values").leaf();
        let counted_gates = counted(&gates, &evaluated).expect("one shape");
        assert_eq!(counted_gates.data(), evaluated.data());
        let grads = ops::sum(&counted_gates).and_then(|loss| loss.backward()).expect("in a graph");
        assert_eq!(grads.of(&gates).expect("a leaf").data(), [1.0; 3]);
        assert!(grads.of(&evaluated).is_err());
        let other = Tensor::zeros([3, 1]).expect("small");
        assert!(counted(&gates, &other).is_err());
    }
}
