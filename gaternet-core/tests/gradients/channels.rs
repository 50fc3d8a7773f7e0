//! Ops that rearrange or mix whole channels and samples.

use gaternet_core::ops::{self, ShakeDraw};
use gaternet_core::{Ctx, Tensor};
use gaternet_kernels::reference;

use crate::check::{Check, random, widen};

#[test]
fn concat() {
    let cases: [&[&[usize]]; 3] = [
        &[&[2, 3, 4, 5]],
        &[&[3, 1, 2, 2], &[3, 17, 2, 2], &[3, 2, 2, 2]],
        &[&[4, 3], &[4, 0], &[4, 5]],
    ];
    for shapes in cases {
        let names = ["a", "b", "c"].into_iter().zip(1..).zip(shapes);
        let inputs = names.map(|((name, seed), shape)| (name, random(shape, seed))).collect();
        Check { op: "concat", case: format!("{shapes:?}"), inputs, tolerance: 1e-6 }.run(
            |inputs| ops::concat(&inputs.iter().collect::<Vec<_>>()),
            |at| {
                let parts: Vec<&[f64]> = at.iter().map(Vec::as_slice).collect();
                reference::concat::forward(shapes[0][0], &parts)
            },
        );
    }
    let (a, b) = (random(&[2, 3, 4, 4], 1), random(&[2, 3, 4, 5], 1));
    let text = ops::concat(&[&a, &b]).expect_err("5 is not 4").to_string();
    assert!(text.contains("(2, 3, 4, 4), (2, 3, 4, 5)"), "{text}");
    assert!(ops::concat(&[]).is_err(), "nothing");
    assert!(ops::concat(&[&random(&[3], 1)]).is_err(), "no channels");
}

#[test]
fn pad() {
    let x = [2, 3, 4, 5];
    for padding in [[0; 4], [1, 2, 3, 0], [-1, 1, -1, 1], [1, -1, 1, -1], [-4, 0, 2, -3]] {
        Check {
            op: "pad",
            case: format!("{padding:?}"),
            inputs: vec![("x", random(&x, 1))],
            tolerance: 1e-6,
        }
        .run(
            |inputs| ops::pad(&inputs[0], padding),
            |at| reference::pad::forward([4, 5], padding, &at[0]),
        );
    }
    assert!(ops::pad(&random(&x, 1), [-3, -2, 0, 0]).is_err(), "no column is left");
}

#[test]
fn shake_shake_with_one_weight_both_ways() {
    let weights = vec![0.25, 0.9, 0.0];
    let wide = widen(&weights);
    let draw = ShakeDraw { alpha: weights.clone(), beta: weights };
    Check {
        op: "shake_shake",
        case: "beta is alpha".to_owned(),
        inputs: vec![("a", random(&[3, 2, 3, 3], 1)), ("b", random(&[3, 2, 3, 3], 2))],
        tolerance: 1e-5,
    }
    .run(
        |inputs| ops::shake_shake_with(&inputs[0], &inputs[1], draw.clone()),
        |at| reference::shake_shake::forward(&wide, &at[0], &at[1]),
    );
}

#[test]
fn shake_shake_sends_the_gradient_another_way_than_the_value() {
    let one = |value| Tensor::full([2, 1, 1, 1], value).expect("small").leaf();
    let (a, b) = (one(1.0), one(0.0));
    let draw = ShakeDraw { alpha: vec![0.2, 0.5], beta: vec![0.9, 0.25] };
    let y = ops::shake_shake_with(&a, &b, draw).expect("one shape");
    assert_eq!(y.data(), [0.2, 0.5]);
    let grads = ops::sum(&y).and_then(|loss| loss.backward()).expect("in a graph");
    assert_eq!(grads.of(&a).expect("a leaf").data(), [0.9, 0.25]);
    assert_eq!(grads.of(&b).expect("a leaf").data(), [1.0 - 0.9, 0.75]);
}

#[test]
fn shake_shake_draws_in_training_and_halves_in_evaluation() {
    let (a, b) = (Tensor::full([400, 1], 1.0), Tensor::zeros([400, 1]));
    let (a, b) = (a.expect("small").leaf(), b.expect("small"));
    let even = ops::shake_shake(&a, &b, &mut Ctx::eval()).expect("one shape");
    assert!(even.data().iter().all(|&y| y == 0.5));
    let y = ops::shake_shake(&a, &b, &mut Ctx::train(1)).expect("one shape");
    let grads = ops::sum(&y).and_then(|loss| loss.backward()).expect("in a graph");
    for (name, draws) in [("alpha", y.data()), ("beta", grads.of(&a).expect("a leaf").data())] {
        let mean = draws.iter().sum::<f32>() / 400.0;
        let spread = draws.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 400.0;
        let uniform = (mean - 0.5).abs() < 0.05 && (spread - 1.0 / 12.0).abs() < 0.02;
        assert!(uniform, "{name}: mean {mean}, variance {spread}");
    }
    assert_ne!(y.data(), grads.of(&a).expect("a leaf").data(), "beta is drawn anew");
    let draw = ShakeDraw::even(3);
    assert!(ops::shake_shake_with(&a, &a, draw).is_err(), "3 weights for 400 samples");
}
