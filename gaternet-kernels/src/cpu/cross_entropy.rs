//! Softmax and the negative log-likelihood of the labels, or of a distribution over the classes,
//! averaged over the batch.

use crate::error::{KernelError, Result, check_len};

/// Returns the mean loss of logits (N, K) and N labels, and writes the probabilities (N, K) to
/// `probs`.
///
/// # Errors
/// [`KernelError::Label`] if a label is not below K; [`KernelError`] if the batch is empty or the
/// lengths do not fit.
pub fn forward(logits: &[f32], labels: &[usize], probs: &mut [f32]) -> Result<f64> {
    let op = "cross_entropy::forward";
    let classes = check(op, ("logits", logits.len()), labels)?;
    check_len(op, "probs", logits.len(), probs.len())?;
    let mut loss = 0.0;
    let rows = logits.chunks_exact(classes).zip(probs.chunks_exact_mut(classes));
    for ((logits, probs), &label) in rows.zip(labels) {
        loss += softmax(logits, probs) - f64::from(logits[label]);
    }
    Ok(loss / labels.len() as f64)
}

/// Writes the gradient of the logits, (N, K): `scale·(prob - 1 at the label)`. The mean loss has
/// scale 1/N.
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward(probs: &[f32], labels: &[usize], scale: f32, grad: &mut [f32]) -> Result<()> {
    let op = "cross_entropy::backward";
    let classes = check(op, ("probs", probs.len()), labels)?;
    check_len(op, "grad", probs.len(), grad.len())?;
    let rows = probs.chunks_exact(classes).zip(grad.chunks_exact_mut(classes));
    for ((probs, grad), &label) in rows.zip(labels) {
        grad.iter_mut().zip(probs).for_each(|(grad, prob)| *grad = scale * prob);
        grad[label] = scale * (probs[label] - 1.0);
    }
    Ok(())
}

/// Returns the mean over n of `-Σ_k targets[n, k] · log softmax(logits[n])[k]` of logits and
/// targets (N, K), and writes the probabilities (N, K) to `probs`.
///
/// # Errors
/// [`KernelError`] if the batch is empty or the lengths do not fit.
pub fn soft_forward(
    classes: usize,
    logits: &[f32],
    targets: &[f32],
    probs: &mut [f32],
) -> Result<f64> {
    let op = "cross_entropy::soft_forward";
    let samples = check_soft(op, classes, logits.len())?;
    check_len(op, "targets", logits.len(), targets.len())?;
    check_len(op, "probs", logits.len(), probs.len())?;
    let mut loss = 0.0;
    let rows = logits.chunks_exact(classes).zip(probs.chunks_exact_mut(classes));
    for ((logits, probs), targets) in rows.zip(targets.chunks_exact(classes)) {
        let log_sum = softmax(logits, probs);
        let terms = logits.iter().zip(targets);
        loss += terms.map(|(&x, &t)| f64::from(t) * (log_sum - f64::from(x))).sum::<f64>();
    }
    Ok(loss / samples as f64)
}

/// Writes the gradient of the logits, (N, K): `scale·(prob·Σ_k targets[n, k] - target)`. The mean
/// loss has scale 1/N.
///
/// # Errors
/// Fails as [`soft_forward`] does.
pub fn soft_backward(
    classes: usize,
    probs: &[f32],
    targets: &[f32],
    scale: f32,
    grad: &mut [f32],
) -> Result<()> {
    let op = "cross_entropy::soft_backward";
    check_soft(op, classes, probs.len())?;
    check_len(op, "targets", probs.len(), targets.len())?;
    check_len(op, "grad", probs.len(), grad.len())?;
    let rows = probs.chunks_exact(classes).zip(grad.chunks_exact_mut(classes));
    for ((probs, grad), targets) in rows.zip(targets.chunks_exact(classes)) {
        let total = targets.iter().copied().map(f64::from).sum::<f64>() as f32;
        for ((grad, prob), target) in grad.iter_mut().zip(probs).zip(targets) {
            *grad = scale * (prob * total - target);
        }
    }
    Ok(())
}

/// Writes the probabilities of one row and returns `log Σ exp(logit)`.
fn softmax(logits: &[f32], probs: &mut [f32]) -> f64 {
    // Less the largest logit no exponential overflows, and the largest is 1.
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    for (prob, &logit) in probs.iter_mut().zip(logits) {
        *prob = ((f64::from(logit) - max).exp() / sum) as f32;
    }
    sum.ln() + max
}

/// Returns the number of samples, N.
fn check_soft(op: &'static str, classes: usize, len: usize) -> Result<usize> {
    match len.checked_rem(classes) {
        Some(0) if len > 0 => Ok(len / classes),
        _ => {
            let rule = "there must be a row, and every row must be whole";
            Err(KernelError::Dims { op, rule, got: format!("{len} values of {classes} classes") })
        }
    }
}

/// Returns the number of classes, K.
fn check(
    op: &'static str,
    (buffer, len): (&'static str, usize),
    labels: &[usize],
) -> Result<usize> {
    let samples = labels.len();
    if samples == 0 || len == 0 || !len.is_multiple_of(samples) {
        let rule = "the rows must be as many as the labels, and neither empty";
        let got = format!("{len} values in `{buffer}` for {samples} labels");
        return Err(KernelError::Dims { op, rule, got });
    }
    let classes = len / samples;
    match labels.iter().position(|&label| label >= classes) {
        Some(sample) => Err(KernelError::Label { op, sample, label: labels[sample], classes }),
        None => Ok(classes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::cross_entropy as reference;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn both_passes_agree_with_the_reference() {
        for (samples, classes) in [(1, 1), (1, 10), (3, 7), (128, 100)] {
            for magnitude in [1.0, 1000.0] {
                let mut logits = values(1, samples * classes);
                logits.iter_mut().for_each(|logit| *logit *= magnitude);
                let labels: Vec<usize> = (0..samples).map(|n| n * 5 % classes).collect();
                let mut probs = vec![7.0; logits.len()];
                let loss = forward(&logits, &labels, &mut probs).expect("labels fit");
                let (want_loss, want) = reference::forward(&widen(&logits), &labels);
                assert_close("loss", &[loss], &[want_loss], 1e-9 * f64::from(magnitude));
                assert_close("probs", &probs, &want, 1e-6);
                let mut grad = vec![7.0; logits.len()];
                backward(&probs, &labels, 0.5, &mut grad).expect("labels fit");
                assert_close("grad", &grad, &reference::backward(&want, &labels, 0.5), 1e-6);
            }
        }
    }

    #[test]
    fn soft_passes_agree_with_the_reference_and_with_labels() {
        for (samples, classes) in [(1, 1), (1, 10), (3, 7), (128, 100)] {
            let logits = values(1, samples * classes);
            let targets: Vec<f32> = values(2, logits.len()).iter().map(|t| t.abs()).collect();
            let mut probs = vec![7.0; logits.len()];
            let loss = soft_forward(classes, &logits, &targets, &mut probs).expect("lengths fit");
            let (want_loss, want) =
                reference::soft_forward(&widen(&logits), &widen(&targets), classes);
            assert_close("loss", &[loss], &[want_loss], 1e-9);
            assert_close("probs", &probs, &want, 1e-6);
            let mut grad = vec![7.0; logits.len()];
            soft_backward(classes, &probs, &targets, 0.5, &mut grad).expect("lengths fit");
            let want = reference::soft_backward(&want, &widen(&targets), classes, 0.5);
            assert_close("grad", &grad, &want, 1e-5);

            // Certainty about the label is the label.
            let labels: Vec<usize> = (0..samples).map(|n| n * 5 % classes).collect();
            let mut certain = vec![0.0; logits.len()];
            labels.iter().enumerate().for_each(|(n, &label)| certain[n * classes + label] = 1.0);
            let soft = soft_forward(classes, &logits, &certain, &mut probs).expect("lengths fit");
            let hard = forward(&logits, &labels, &mut probs).expect("labels fit");
            assert_close("one-hot", &[soft], &[hard], 1e-12);
        }
        let mut out = [7.0; 4];
        assert!(soft_forward(0, &[], &[], &mut []).is_err());
        assert!(soft_forward(3, &[0.0; 4], &[0.0; 4], &mut out).is_err());
        assert!(soft_forward(2, &[0.0; 4], &[0.0; 3], &mut out).is_err());
        assert!(soft_backward(2, &[0.0; 4], &[0.0; 4], 1.0, &mut out[..3]).is_err());
        assert_eq!(out, [7.0; 4]);
    }

    #[test]
    fn logits_of_any_size_give_finite_losses_and_nan_shows() {
        let mut probs = [7.0; 3];
        let loss = forward(&[f32::MAX, f32::MIN, 0.0], &[0], &mut probs).expect("labels fit");
        assert_eq!((loss, probs), (0.0, [1.0, 0.0, 0.0]));
        let loss = forward(&[f32::NAN, 0.0, 0.0], &[1], &mut probs).expect("labels fit");
        assert!(loss.is_nan());
    }

    #[test]
    fn a_label_that_is_no_class_is_refused_and_nothing_is_written() {
        let mut out = [7.0; 4];
        let error = forward(&[0.0; 4], &[1, 2], &mut out).expect_err("label 2 of 2 classes");
        let want =
            "cross_entropy::forward: label 2 of sample 1 is not below the number of classes, 2";
        assert_eq!(error.to_string(), want);
        assert!(backward(&[0.0; 4], &[1, 2], 1.0, &mut out).is_err());
        assert!(forward(&[0.0; 4], &[], &mut out).is_err());
        assert!(forward(&[], &[0], &mut out).is_err());
        assert!(forward(&[0.0; 4], &[0, 0, 0], &mut out).is_err());
        assert!(forward(&[0.0; 4], &[0], &mut out[..3]).is_err());
        assert_eq!(out, [7.0; 4]);
    }
}
