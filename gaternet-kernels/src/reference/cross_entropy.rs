//! Softmax and the negative log-likelihood of the labels, averaged over the batch.

/// (mean loss, probabilities (N, K)) of logits (N, K) and N labels.
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

/// Gradient of `scale · (sum of the losses)` with respect to the logits (N, K).
#[must_use]
pub fn backward(probs: &[f64], labels: &[usize], scale: f64) -> Vec<f64> {
    let classes = probs.len() / labels.len();
    let is_label = |i: usize| f64::from(u8::from(labels[i / classes] == i % classes));
    probs.iter().enumerate().map(|(i, p)| scale * (p - is_label(i))).collect()
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
}
