//! Fully connected layers and the classification loss.

use gaternet_core::{Tensor, ops};
use gaternet_kernels::dims::LinearDims;
use gaternet_kernels::reference::{cross_entropy, linear};

use crate::check::{Check, random, widen};

#[test]
fn linear_layers() {
    for [batch, in_features, out_features] in [[1, 1, 1], [3, 64, 8], [5, 7, 33], [17, 8, 10]] {
        let dims = LinearDims { batch, in_features, out_features };
        for bias in [true, false] {
            let mut inputs = vec![
                ("x", random(&[batch, in_features], 1)),
                ("weight", random(&[out_features, in_features], 2)),
            ];
            inputs.extend(bias.then(|| ("bias", random(&[out_features], 3))));
            Check { op: "linear", case: format!("{dims:?}, bias {bias}"), inputs, tolerance: 1e-5 }
                .run(
                    |inputs| ops::linear(&inputs[0], &inputs[1], inputs.get(2)),
                    |at| linear::forward(dims, &at[0], &at[1], at.get(2).map(Vec::as_slice)),
                );
        }
    }
}

#[test]
fn linear_misfits_are_errors_with_the_shapes() {
    let text = ops::linear(&random(&[2, 3], 1), &random(&[4, 5], 2), None).expect_err("3 is not 5");
    let text = text.to_string();
    assert!(text.contains("(4, 5) for (4, 3)"), "{text}");
}

#[test]
fn cross_entropies() {
    for [batch, classes] in [[1, 2], [3, 10], [7, 100]] {
        let labels: Vec<usize> = (0..batch).map(|n| (7 * n + 1) % classes).collect();
        Check {
            op: "cross_entropy",
            case: format!("({batch}, {classes})"),
            inputs: vec![("logits", random(&[batch, classes], 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::cross_entropy(&inputs[0], &labels),
            |at| vec![cross_entropy::forward(&at[0], &labels).0],
        );
    }
}

#[test]
fn soft_cross_entropies() {
    for [batch, classes] in [[1, 2], [3, 10], [7, 100]] {
        let targets = random(&[batch, classes], 2);
        Check {
            op: "soft_cross_entropy",
            case: format!("({batch}, {classes})"),
            inputs: vec![("logits", random(&[batch, classes], 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::soft_cross_entropy(&inputs[0], &targets),
            |at| vec![cross_entropy::soft_forward(&at[0], &widen(targets.data()), classes).0],
        );
    }
    let text = ops::soft_cross_entropy(&random(&[2, 3], 1), &random(&[2, 4], 1));
    let text = text.expect_err("4 classes for 3").to_string();
    assert!(text.contains("(2, 4) for (2, 3)"), "{text}");
}

#[test]
fn labels_must_fit() {
    let logits = random(&[2, 3], 1);
    let text = ops::cross_entropy(&logits, &[0]).expect_err("one label").to_string();
    assert!(text.contains("1 labels for (2, 3)"), "{text}");
    let text = ops::cross_entropy(&logits, &[0, 3]).expect_err("no class 3").to_string();
    assert!(text.contains("label 3 of sample 1"), "{text}");
    assert!(ops::cross_entropy(&Tensor::zeros([0, 3]).expect("small"), &[]).is_err());
}
