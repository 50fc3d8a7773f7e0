use gaternet_kernels::cuda::cross_entropy::{Loss, Targets, forward_backward};
use gaternet_kernels::cuda::{CudaBuffer, CudaDevice, Result};
use gaternet_kernels::reference::cross_entropy as reference;

use crate::check::{close, download, upload, values, widen};
use crate::emulator;

/// What the device makes of a batch: gradient, result and totals.
fn run(
    device: &CudaDevice,
    smoothing: f32,
    logits: &[f32],
    labels: &[i32],
    totals: [f32; 2],
) -> Result<[Vec<f32>; 3]> {
    run_mixed(device, smoothing, logits, [labels; 2], None, totals)
}

/// With labels and partners, if there is a fraction.
fn run_mixed(
    device: &CudaDevice,
    smoothing: f32,
    logits: &[f32],
    [labels, partners]: [&[i32]; 2],
    fraction: Option<f32>,
    totals: [f32; 2],
) -> Result<[Vec<f32>; 3]> {
    let classes = logits.len() / labels.len().max(1);
    let mut grad = upload(device, &vec![f32::NAN; logits.len()]);
    let mut result = upload(device, &[f32::NAN; 2]);
    let mut totals = upload(device, &totals);
    let mut scratch = upload(device, &vec![f32::NAN; 2 * labels.len()]);
    let labels = CudaBuffer::from_slice(device, labels)?;
    let partners = CudaBuffer::from_slice(device, partners)?;
    let fraction = fraction.map(|fraction| upload(device, &[fraction]));
    let partners = fraction.as_ref().map(|fraction| (&partners, fraction));
    let targets = Targets { labels: &labels, partners };
    let loss = Loss { result: &mut result, totals: Some(&mut totals), scratch: &mut scratch };
    forward_backward(classes, smoothing, &upload(device, logits), targets, Some(&mut grad), loss)?;
    Ok([grad.to_vec()?, result.to_vec()?, totals.to_vec()?])
}

#[test]
fn loss_gradient_and_right_answers_agree_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    for (batch, classes) in [(1, 1), (1, 10), (3, 33), (5, 100), (300, 7)] {
        for smoothing in [0.0, 0.1, 1.0] {
            let logits: Vec<f32> =
                values(1, batch * classes).iter().map(|v| 80.0 + 5.0 * v).collect();
            let labels: Vec<i32> = (0..batch).map(|n| (n * 7 % classes) as i32).collect();
            let targets: Vec<f64> = (0..batch * classes)
                .map(|i| {
                    let label = labels[i / classes] as usize == i % classes;
                    let floor = f64::from(smoothing) / classes as f64;
                    floor + if label { 1.0 - f64::from(smoothing) } else { 0.0 }
                })
                .collect();
            let (loss, probs) = reference::soft_forward(&widen(&logits), &targets, classes);
            let want = reference::soft_backward(&probs, &targets, classes, 1.0 / batch as f64);
            let right = (0..batch).filter(|&n| {
                let row = &logits[n * classes..][..classes];
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter().position(|&l| l == largest) == usize::try_from(labels[n]).ok()
            });
            let right = right.count() as f64;
            let what = format!("{batch} samples, {classes} classes, smoothing {smoothing}");
            let [grad, result, totals] =
                run(&device, smoothing, &logits, &labels, [1.0, 2.0]).expect("a launch");
            let check = |got: &[f32], want: &[f64]| {
                close(&what, got, want, 1e-5).unwrap_or_else(|error| panic!("{error}"));
            };
            // With one class the gradient is exactly 0.
            check(&grad, &want);
            assert!((f64::from(result[0]) - loss).abs() < 1e-5, "{what}: {} {loss}", result[0]);
            assert_eq!(f64::from(result[1]), right, "{what}");
            let sum = 1.0 + loss * batch as f64;
            assert!((f64::from(totals[0]) - sum).abs() < 1e-5 * sum, "{what}: {totals:?} {sum}");
            assert_eq!(f64::from(totals[1]), 2.0 + right, "{what}");
        }
    }
}

/// Batches with two labels a sample, some of them the same.
pub(crate) fn two_labels(device: &CudaDevice) -> std::result::Result<(), String> {
    for (batch, classes) in [(1, 1), (3, 10), (5, 100), (30, 7)] {
        for (smoothing, fraction) in [(0.0, 0.75), (0.1, 0.3), (0.1, 1.0)] {
            let logits: Vec<f32> = values(1, batch * classes).iter().map(|v| 5.0 * v).collect();
            let list = |factor: usize| -> Vec<i32> {
                (0..batch).map(|n| (n * factor % classes) as i32).collect()
            };
            let (labels, partners) = (list(7), list(3));
            let (mut targets, mut right) = (Vec::new(), 0.0);
            for n in 0..batch {
                let row = &logits[n * classes..][..classes];
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = row.iter().position(|&l| l == largest);
                for k in 0..classes {
                    let mut certain = 0.0;
                    for (label, fraction) in [(labels[n], fraction), (partners[n], 1.0 - fraction)]
                    {
                        certain += f64::from(u8::from(label as usize == k)) * f64::from(fraction);
                    }
                    right += if first == Some(k) { certain } else { 0.0 };
                    let smoothing = f64::from(smoothing);
                    targets.push((1.0 - smoothing) * certain + smoothing / classes as f64);
                }
            }
            let (loss, probs) = reference::soft_forward(&widen(&logits), &targets, classes);
            let want = reference::soft_backward(&probs, &targets, classes, 1.0 / batch as f64);
            let what =
                format!("{batch} samples, {classes} classes, {smoothing}, fraction {fraction}");
            let labels = [&labels[..], &partners];
            let got = run_mixed(device, smoothing, &logits, labels, Some(fraction), [1.0, 2.0]);
            let [grad, result, totals] = got.map_err(|e| e.to_string())?;
            if classes > 1 {
                close(&what, &grad, &want, 1e-5)?;
            }
            close(&what, &result, &[loss, right], 1e-5)?;
            close(&what, &totals, &[1.0 + loss * batch as f64, 2.0 + right], 1e-5)?;
        }
    }
    Ok(())
}

#[test]
fn two_labels_count_by_their_shares() {
    let Some(device) = emulator::device() else { return };
    two_labels(&device).unwrap_or_else(|error| panic!("{error}"));
    for partner in [-1, 3] {
        let labels = [&[0, 1][..], &[partner, 0]];
        let [grad, result, _] =
            run_mixed(&device, 0.1, &[0.0; 6], labels, Some(0.5), [0.0; 2]).expect("a launch");
        assert!(result[0].is_nan() && grad[..3].iter().all(|grad| grad.is_nan()), "{partner}");
        assert!(grad[3..].iter().all(|grad| grad.is_finite()), "{partner}");
    }
    let labels = [&[0, 1][..], &[0]];
    let error = run_mixed(&device, 0.1, &[0.0; 6], labels, Some(0.5), [0.0; 2]).expect_err("one");
    assert!(error.to_string().contains("`partners` has 1 elements, its dims need 2"), "{error}");
}

#[test]
fn without_gradient_and_totals_the_loss_is_the_same() {
    let Some(device) = emulator::device() else { return };
    let (logits, labels) = (values(1, 20), [3, 0]);
    let [_, want, _] = run(&device, 0.1, &logits, &labels, [0.0; 2]).expect("a launch");
    let mut result = upload(&device, &[f32::NAN; 2]);
    let mut scratch = upload(&device, &[f32::NAN; 4]);
    let labels = CudaBuffer::from_slice(&device, &labels).expect("a copy");
    let loss = Loss { result: &mut result, totals: None, scratch: &mut scratch };
    let targets = Targets { labels: &labels, partners: None };
    forward_backward(10, 0.1, &upload(&device, &logits), targets, None, loss).expect("a launch");
    assert_eq!(download(&result), Ok(want));
}

#[test]
fn the_first_of_equal_logits_is_the_answer_and_nan_is_none() {
    let Some(device) = emulator::device() else { return };
    let logits = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, f32::NAN, 0.0];
    let [_, result, _] = run(&device, 0.0, &logits, &[0, 1, 0], [0.0; 2]).expect("a launch");
    assert_eq!(result[1], 1.0);
    assert!(result[0].is_nan());
}

#[test]
fn a_label_that_is_no_class_shows() {
    let Some(device) = emulator::device() else { return };
    for label in [-1, 3, i32::MAX] {
        let [grad, result, _] =
            run(&device, 0.1, &[0.0; 6], &[label, 1], [0.0; 2]).expect("a launch");
        assert!(result[0].is_nan() && grad[..3].iter().all(|grad| grad.is_nan()), "{label}");
        assert!(grad[3..].iter().all(|grad| grad.is_finite()), "{label}");
    }
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let Some(device) = emulator::device() else { return };
    for (smoothing, labels) in [(0.0, &[][..]), (1.5, &[0][..]), (f32::NAN, &[0][..])] {
        let error = run(&device, smoothing, &[0.0; 4], labels, [0.0; 2]).expect_err("refused");
        assert!(error.to_string().contains("there must be a sample"), "{error}");
    }
    let error = run(&device, 0.0, &[0.0; 5], &[0, 0], [0.0; 2]).expect_err("5 is not 2 rows");
    assert!(error.to_string().contains("`logits` has 5 elements, its dims need 4"), "{error}");
}
