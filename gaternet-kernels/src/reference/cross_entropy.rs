//! Softmax and the negative log-likelihood of the labels, or of a distribution over the classes,
//! averaged over the batch.

/// Returns the mean loss and the probabilities (N, K) of logits (N, K) and N labels.
#[must_use]
pub fn forward(logits: &[f64], labels: &[usize]) -> (f64, Vec<f64>) {
    let classes = logits.len() / labels.len();
    let mut probs = Vec::with_capacity(logits.len());
    let mut loss = 0.0;
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|logit| (logit - max).exp()).sum();
        probs.extend(row.iter().map(|logit| (logit - max).exp() / sum));
        loss += sum.ln() + max - row[label];
    }
    (loss / labels.len() as f64, probs)
}

/// Returns the gradient of `scale · (sum of the losses)` with respect to the logits, (N, K).
#[must_use]
pub fn backward(probs: &[f64], labels: &[usize], scale: f64) -> Vec<f64> {
    let classes = probs.len() / labels.len();
    let is_label = |i: usize| f64::from(u8::from(labels[i / classes] == i % classes));
    probs.iter().enumerate().map(|(i, p)| scale * (p - is_label(i))).collect()
}

/// Returns the mean over n of `-Σ_k targets[n, k] · log softmax(logits[n])[k]`, and the
/// probabilities (N, K), of logits and targets (N, K).
#[must_use]
pub fn soft_forward(logits: &[f64], targets: &[f64], classes: usize) -> (f64, Vec<f64>) {
    let mut probs = Vec::with_capacity(logits.len());
    let mut loss = 0.0;
    for (row, targets) in logits.chunks(classes).zip(targets.chunks(classes)) {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = row.iter().map(|logit| (logit - max).exp()).sum::<f64>().ln() + max;
        probs.extend(row.iter().map(|logit| (logit - log_sum).exp()));
        loss += row.iter().zip(targets).map(|(x, t)| t * (log_sum - x)).sum::<f64>();
    }
    (loss / (logits.len() / classes) as f64, probs)
}

/// Returns the gradient of `scale · (sum of the losses)` with respect to the logits, (N, K).
#[must_use]
pub fn soft_backward(probs: &[f64], targets: &[f64], classes: usize, scale: f64) -> Vec<f64> {
    let total = |i: usize| targets[i / classes * classes..][..classes].iter().sum::<f64>();
    let each = |(i, (p, t)): (usize, (&f64, &f64))| scale * (p * total(i) - t);
    probs.iter().zip(targets).enumerate().map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::numeric_gradient;
    use crate::testing::{assert_close, values_f64};

    #[test]
    fn equal_logits_cost_the_log_of_the_classes() {
        let (loss, probs) = forward(&[1000.0; 8], &[0, 3]);
        assert_close("loss", &[loss], &[4f64.ln()], 1e-12);
        assert_eq!(probs, [0.25; 8]);
    }

    #[test]
    fn gradient_agrees_with_central_differences() {
        let (logits, labels) = (values_f64(1, 15), [4, 0, 2]);
        let numeric = numeric_gradient(|logits| forward(logits, &labels).0, &logits);
        let (_, probs) = forward(&logits, &labels);
        assert_close("logits", &backward(&probs, &labels, 1.0 / 3.0), &numeric, 1e-9);
    }

    /// `F.cross_entropy(torch.tensor([[1., 2., 3.]]), torch.tensor([2]), label_smoothing=0.1)` is
    /// 0.9 · 0.4076 + 0.1 · mean(2.4076, 1.4076, 0.4076).
    #[test]
    fn smoothed_labels_agree_with_pytorch() {
        let targets = [0.1 / 3.0, 0.1 / 3.0, 0.9 + 0.1 / 3.0];
        let (loss, _) = soft_forward(&[1.0, 2.0, 3.0], &targets, 3);
        assert_close("loss", &[loss], &[0.9 * 0.407_605_96 + 0.1 * 1.407_605_96], 1e-7);
    }

    #[test]
    fn soft_gradient_agrees_with_central_differences() {
        let (logits, targets) = (values_f64(1, 15), values_f64(2, 15));
        let numeric = numeric_gradient(|logits| soft_forward(logits, &targets, 5).0, &logits);
        let (_, probs) = soft_forward(&logits, &targets, 5);
        let grad = soft_backward(&probs, &targets, 5, 1.0 / 3.0);
        assert_close("logits", &grad, &numeric, 1e-9);
    }
}
