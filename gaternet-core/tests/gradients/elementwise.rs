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
