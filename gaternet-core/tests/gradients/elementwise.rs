//! Ops that do not care about shape.

use gaternet_core::{Result, Tensor, ops};
use gaternet_kernels::reference;

use crate::check::{Check, random};

const SHAPES: [&[usize]; 5] = [&[], &[1], &[17], &[3, 33], &[2, 3, 5, 7]];

fn run(
    op: &str,
    inputs: usize,
    apply: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    for shape in SHAPES {
        let names = ["a", "b"].into_iter().zip(1..).take(inputs);
        Check {
            op,
            case: format!("{shape:?}"),
            inputs: names.map(|(name, seed)| (name, random(shape, seed))).collect(),
            tolerance: 1e-5,
        }
        .run(&apply, &reference);
    }
}

#[test]
fn add() {
    let sum = |at: &[Vec<f64>]| at[0].iter().zip(&at[1]).map(|(a, b)| a + b).collect();
    run("add", 2, |x| ops::add(&x[0], &x[1]), sum);
}

#[test]
fn mul() {
    let product = |at: &[Vec<f64>]| at[0].iter().zip(&at[1]).map(|(a, b)| a * b).collect();
    run("mul", 2, |x| ops::mul(&x[0], &x[1]), product);
}

#[test]
fn scale() {
    run("scale", 1, |x| ops::scale(&x[0], -2.5), |at| at[0].iter().map(|a| -2.5 * a).collect());
}

#[test]
fn sum() {
    run("sum", 1, |x| ops::sum(&x[0]), |at| vec![at[0].iter().sum()]);
}

#[test]
fn mean() {
    let mean = |at: &[Vec<f64>]| vec![at[0].iter().sum::<f64>() / at[0].len() as f64];
    run("mean", 1, |x| ops::mean(&x[0]), mean);
    assert!(ops::mean(&random(&[0], 1)).is_err(), "nothing has no mean");
}

#[test]
fn relu() {
    run("relu", 1, |x| ops::relu(&x[0]), |at| reference::relu::forward(&at[0]));
}

#[test]
fn sigmoid() {
    run("sigmoid", 1, |x| ops::sigmoid(&x[0]), |at| reference::sigmoid::forward(&at[0]));
}

#[test]
fn reshape() {
    run("reshape", 1, |x| x[0].reshape([x[0].len(), 1]), |at| at[0].clone());
    assert!(random(&[2, 3], 1).reshape([5]).is_err(), "6 elements are not 5");
}

#[test]
fn shapes_must_agree() {
    for op in [ops::add, ops::mul] {
        let text = op(&random(&[2, 3], 1), &random(&[3, 2], 1)).expect_err("differ").to_string();
        assert!(text.contains("(2, 3)") && text.contains("(3, 2)"), "{text}");
    }
}

#[test]
fn sub() {
    Check {
        op: "sub",
        case: "one shape".to_owned(),
        inputs: vec![("a", random(&[3, 5], 1)), ("b", random(&[3, 5], 2))],
        tolerance: 1e-5,
    }
    .run(|inputs| ops::sub(&inputs[0], &inputs[1]), |at| each(at, |a, b| a - b));
}

#[test]
fn div() {
    // Away from 0, where a quotient has no derivative.
    let divisor = random(&[3, 5], 2).data().iter().map(|x| x + 2f32.copysign(*x)).collect();
    let divisor = Tensor::new(divisor, [3, 5]).expect("15 values");
    Check {
        op: "div",
        case: "one shape".to_owned(),
        inputs: vec![("a", random(&[3, 5], 1)), ("b", divisor)],
        tolerance: 1e-5,
    }
    .run(|inputs| ops::div(&inputs[0], &inputs[1]), |at| each(at, |a, b| a / b));
}

fn each(at: &[Vec<f64>], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    at[0].iter().zip(&at[1]).map(|(&a, &b)| f(a, b)).collect()
}

#[test]
fn softmax() {
    let shape = [3, 4, 2];
    for (dim, len, inner) in [(0, 3, 8), (1, 4, 2), (2, 2, 1)] {
        Check {
            op: "softmax",
            case: format!("dimension {dim}"),
            inputs: vec![("x", random(&shape, 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::softmax(&inputs[0], dim),
            |at| {
                let x = &at[0];
                let sum = |i: usize| {
                    let start = i / (len * inner) * len * inner + i % inner;
                    (0..len).map(|k| x[start + k * inner].exp()).sum::<f64>()
                };
                (0..x.len()).map(|i| x[i].exp() / sum(i)).collect()
            },
        );
    }
    let large = ops::softmax(&Tensor::from([[1e30, 1e30], [0.0, -1e30]]), 1).expect("finite");
    assert_eq!(large, Tensor::from([[0.5, 0.5], [1.0, 0.0]]));
    let text = ops::softmax(&large, 2).expect_err("two dimensions").to_string();
    assert!(text.contains("dimension 2 of (2, 2)"), "{text}");
}
