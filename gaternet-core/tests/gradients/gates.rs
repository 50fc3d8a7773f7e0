//! Gates, and the slices of the gate matrix.

use gaternet_core::gate::{self, SemHashDraw};
use gaternet_core::{Tensor, ops};
use gaternet_kernels::dims::PlaneDims;
use gaternet_kernels::reference::gate as reference;

use crate::check::{Check, DENSITIES, random, widen};

#[test]
fn gate() {
    for x in [[1, 1, 1, 1], [2, 3, 5, 3], [3, 17, 4, 4], [2, 16, 8, 8]] {
        let dims = PlaneDims { batch: x[0], channels: x[1], plane: x[2] * x[3] };
        for density in DENSITIES {
            Check {
                op: "gate",
                case: format!("{x:?}, {density:?}"),
                inputs: vec![("x", random(&x, 1)), ("gates", density.gates(x[0], x[1]))],
                tolerance: 1e-5,
            }
            .run(
                |inputs| ops::gate(&inputs[0], &inputs[1]),
                |at| reference::forward(dims, &at[0], &at[1]),
            );
        }
    }
}

#[test]
fn columns() {
    for range in [0..3, 2..7, 6..7, 4..4] {
        let width = 7;
        Check {
            op: "columns",
            case: format!("{range:?}"),
            inputs: vec![("x", random(&[4, width], 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::columns(&inputs[0], range.clone()),
            |at| at[0].chunks(width).flat_map(|row| row[range.clone()].to_vec()).collect(),
        );
    }
    let text = ops::columns(&random(&[4, 7], 1), 5..8).expect_err("7 columns").to_string();
    assert!(text.contains("5..8 of (4, 7)"), "{text}");
}

#[test]
fn soft_sem_hash() {
    let draw = SemHashDraw { noise: random(&[3, 5], 2), discrete: vec![false; 3] };
    let noise: Vec<f64> = draw.noise.data().iter().map(|&e| f64::from(e)).collect();
    Check {
        op: "sem_hash",
        case: "soft".to_owned(),
        inputs: vec![("preactivation", random(&[3, 5], 1))],
        tolerance: 1e-5,
    }
    .run(
        |inputs| gate::sem_hash(&inputs[0], &draw),
        |at| {
            let soft = |(p, e): (&f64, &f64)| 1.2 / (1.0 + (-p - e).exp()) - 0.1;
            at[0].iter().zip(&noise).map(soft).map(|g| g.clamp(0.0, 1.0)).collect()
        },
    );
}

#[test]
fn soft_gumbel_sigmoid() {
    let noise = random(&[3, 5], 2);
    for tau in [0.5, 2.0f32] {
        Check {
            op: "gumbel_sigmoid",
            case: format!("soft, tau {tau}"),
            inputs: vec![("preactivation", random(&[3, 5], 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| gate::gumbel_sigmoid(&inputs[0], &noise, tau, false),
            |at| {
                let soft = |(p, e): (&f64, f64)| 1.0 / (1.0 + (-(p + e) / f64::from(tau)).exp());
                at[0].iter().zip(widen(noise.data())).map(soft).collect()
            },
        );
    }
}

#[test]
fn l1_loss() {
    Check {
        op: "l1_loss",
        case: "no gate is 0".to_owned(),
        inputs: vec![("gates", random(&[3, 5], 1))],
        tolerance: 1e-5,
    }
    .run(
        |inputs| gate::l1_loss(&inputs[0]),
        |at| vec![at[0].iter().map(|g| g.abs()).sum::<f64>() / 15.0],
    );
}

#[test]
fn an_off_gate_hides_nan_and_has_a_gradient() {
    let x = Tensor::new(vec![f32::NAN, 1.0, 2.0, 3.0], [1, 2, 1, 2]).expect("4 values");
    let gates = Tensor::new(vec![0.0, 0.0], [1, 2]).expect("2 gates").leaf();
    let y = ops::gate(&x, &gates).expect("fits");
    assert_eq!(y.data(), [0.0; 4]);
    let grads = ops::sum(&y).and_then(|loss| loss.backward()).expect("in a graph");
    assert_eq!(grads.of(&gates).expect("a leaf").data()[1], 5.0);
}
