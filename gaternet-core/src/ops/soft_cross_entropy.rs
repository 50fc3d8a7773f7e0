//! Classification loss of a distribution over the classes.

use gaternet_kernels::cpu::cross_entropy as kernel;

use super::{check_shape, dims};
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `mean over n of -sum over k of targets[n, k] · log softmax(logits[n])[k]`, shape `()`, of logits
/// and targets (N, K): `torch.nn.functional.cross_entropy` with class probabilities. Rows of
/// targets should add up to 1. The targets are constants: they get no gradient.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ,
/// [`Error::Kernel`](crate::Error::Kernel) if there is no row or no class.
pub fn soft_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let op = "soft_cross_entropy";
    let [_, classes] = dims(op, "the logits must be (N, K)", logits)?;
    check_shape(op, "the targets must have the shape of the logits", targets, logits.shape())?;
    let mut probs = storage::take(logits.len());
    let loss = kernel::soft_forward(classes, logits.data(), targets.data(), &mut probs)?;
    let probs = Tensor::new(probs, logits.shape())?;
    let save = |_: &Tensor| SoftCrossEntropy { classes, probs, targets: targets.detach() };
    Tensor::from_op(vec![loss as f32], [], &[logits], save)
}

#[derive(Debug)]
struct SoftCrossEntropy {
    classes: usize,
    probs: Tensor,
    targets: Tensor,
}

impl Backward for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        "soft_cross_entropy"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let SoftCrossEntropy { classes, probs, targets } = self;
        let samples = probs.len() / classes;
        let mut grad_logits = storage::take(probs.len());
        let scale = grad.item()? / samples as f32;
        kernel::soft_backward(*classes, probs.data(), targets.data(), scale, &mut grad_logits)?;
        Ok(vec![Some(Tensor::new(grad_logits, probs.shape())?)])
    }
}
