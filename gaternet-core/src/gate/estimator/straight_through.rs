//! The straight-through estimator.

use crate::autograd::Backward;
use crate::error::Result;
use crate::gate::sem_hash::hard_gate;
use crate::storage;
use crate::tensor::Tensor;

/// The gates (N, C) of [`Estimator::StraightThrough`](super::Estimator::StraightThrough).
pub(super) fn straight_through(logits: &Tensor) -> Result<Tensor> {
    let mut gates = storage::take(logits.len());
    gates.iter_mut().zip(logits.data()).for_each(|(gate, &g)| *gate = hard_gate(g));
    let save = |_: &Tensor| StraightThrough { logits: logits.detach() };
    Tensor::from_op(gates, logits.shape(), &[logits], save)
}

#[derive(Debug)]
struct StraightThrough {
    logits: Tensor,
}

impl Backward for StraightThrough {
    fn name(&self) -> &'static str {
        "straight_through"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_p = storage::take(grad.len());
        for ((out, &g), &grad) in grad_p.iter_mut().zip(self.logits.data()).zip(grad.data()) {
            let leaves = g.abs() > 1.0 && g * grad < 0.0;
            *out = if leaves { 0.0 } else { grad };
        }
        Ok(vec![Some(Tensor::new(grad_p, grad.shape())?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    #[test]
    fn the_gradient_is_that_of_the_identity_but_none_leads_out() {
        let logits = [-2.0, -1.0, -0.5, 0.0, 1.0, 1.5];
        let logits = Tensor::new(logits.to_vec(), [1, 6]).expect("6 values").leaf();
        let gates = || straight_through(&logits).expect("any shape");
        assert_eq!(gates().data(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let gradient = |factor| {
            let grads = ops::sum(&ops::scale(&gates(), factor).expect("any"));
            let grads = grads.and_then(|loss| loss.backward()).expect("in a graph");
            grads.of(&logits).expect("a leaf").data().to_vec()
        };
        // A step goes against the gradient.
        assert_eq!(gradient(3.0), [0.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
        assert_eq!(gradient(-3.0), [-3.0, -3.0, -3.0, -3.0, -3.0, 0.0]);
    }
}
