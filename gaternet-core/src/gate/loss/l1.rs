//! The price of open gates.

use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// `mean over n of sum over i of |gates[n, i]| / c`, shape `()`, of gates (N, c). The gradient at a
/// gate of exactly 0 is 0, as in PyTorch's and TensorFlow's `abs`. The loss of GaterNet (Chen et
/// al. 2019, arXiv 1811.11205): every gate costs the same, wherever it is, and the weight decides
/// how many stay open.
///
/// # Errors
/// [`Error::Shape`] if there is no gate.
pub fn l1_loss(gates: &Tensor) -> Result<Tensor> {
    if gates.is_empty() {
        let got = gates.shape().to_string();
        return Err(Error::Shape { op: "l1_loss", rule: "there must be a gate", got });
    }
    let sum: f64 = gates.data().iter().map(|gate| f64::from(gate.abs())).sum();
    let loss = sum / gates.len() as f64;
    Tensor::from_op(vec![loss as f32], [], &[gates], |_| L1 { gates: gates.detach() })
}

#[derive(Debug)]
struct L1 {
    gates: Tensor,
}

impl Backward for L1 {
    fn name(&self) -> &'static str {
        "l1_loss"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let each = grad.item()? / self.gates.len() as f32;
        let mut grad_gates = storage::take(self.gates.len());
        for (out, &gate) in grad_gates.iter_mut().zip(self.gates.data()) {
            *out = if gate == 0.0 { 0.0 } else { each.copysign(each * gate) };
        }
        Ok(vec![Some(Tensor::new(grad_gates, self.gates.shape())?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_mean_size_and_its_gradient_the_sign() {
        let gates = Tensor::new(vec![1.0, 0.0, -0.5, 0.25], [2, 2]).expect("4 values").leaf();
        let loss = l1_loss(&gates).expect("4 gates");
        assert_eq!(loss.item().expect("a scalar"), 1.75 / 4.0);
        let grads = loss.backward().expect("in a graph");
        assert_eq!(grads.of(&gates).expect("a leaf").data(), [0.25, 0.0, -0.25, 0.25]);
    }
}
