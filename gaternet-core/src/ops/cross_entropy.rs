//! Classification loss.

use gaternet_kernels::cpu::cross_entropy as kernel;

use super::dims;
use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// `mean over n of -log softmax(logits[n])[labels[n]]`, shape `()`, of logits (N, K) and N labels.
///
/// # Errors
/// [`Error::Shape`] if there is not one label per row, [`Error::Kernel`] if there is no row or a
/// label is not below K.
pub fn cross_entropy(logits: &Tensor, labels: &[usize]) -> Result<Tensor> {
    let [batch, _] = dims("cross_entropy", "the logits must be (N, K)", logits)?;
    if labels.len() != batch {
        return Err(Error::Shape {
            op: "cross_entropy",
            rule: "there must be one label per row of the logits",
            got: format!("{} labels for {}", labels.len(), logits.shape()),
        });
    }
    let mut probs = storage::take(logits.len());
    let loss = kernel::forward(logits.data(), labels, &mut probs)?;
    let probs = Tensor::new(probs, logits.shape())?;
    let save = |_: &Tensor| CrossEntropy { probs, labels: labels.to_vec() };
    Tensor::from_op(vec![loss as f32], [], &[logits], save)
}

#[derive(Debug)]
struct CrossEntropy {
    probs: Tensor,
    labels: Vec<usize>,
}

impl Backward for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_logits = storage::take(self.probs.len());
        let scale = grad.item()? / self.labels.len() as f32;
        kernel::backward(self.probs.data(), &self.labels, scale, &mut grad_logits)?;
        Ok(vec![Some(Tensor::new(grad_logits, self.probs.shape())?)])
    }
}
