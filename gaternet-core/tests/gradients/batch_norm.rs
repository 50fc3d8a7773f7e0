//! Batch normalisation in both modes, with every epilogue and gate density.

use approx::assert_abs_diff_eq;
use gaternet_core::Tensor;
use gaternet_core::ops::{self, BatchNormInput, Stats};
use gaternet_kernels::dims::PlaneDims;
use gaternet_kernels::reference::batch_norm::{self as reference, BatchNorm};

use crate::check::{Check, DENSITIES, Density, random, widen};

const EPS: f32 = 1e-3;

#[derive(Debug, Clone, Copy)]
struct Case {
    x: &'static [usize],
    batch_stats: bool,
    gates: Option<Density>,
    residual: bool,
    relu: bool,
}

const SHAPES: [&[usize]; 8] = [
    &[4, 1, 1, 1],
    &[2, 3, 5, 3],
    &[3, 17, 4, 4],
    &[2, 16, 8, 8],
    &[5, 2, 1, 7],
    &[1, 4, 3, 3],
    &[2, 17],
    &[6, 5],
];

fn run(case: Case) {
    let Case { x, batch_stats, gates, residual, relu } = case;
    let (n, c) = (x[0], x[1]);
    let dims = PlaneDims { batch: n, channels: c, plane: x[2..].iter().product() };
    let mut inputs =
        vec![("x", random(x, 1)), ("weight", random(&[c], 2)), ("bias", random(&[c], 3))];
    inputs.extend(gates.map(|density| ("gates", density.gates(n, c))));
    inputs.extend(residual.then(|| ("residual", random(x, 5))));
    let mean = random(&[c], 11);
    let var = Tensor::full([c], 0.7).expect("small");
    let check = Check { op: "batch_norm", case: format!("{case:?}"), inputs, tolerance: 1e-4 };
    check.run(
        |inputs| {
            let stats = match batch_stats {
                true => Stats::Batch,
                false => Stats::Fixed { mean: &mean, var: &var },
            };
            let input = BatchNormInput::new(&inputs[0], &inputs[1], &inputs[2], stats, EPS)
                .with_gates(gates.map(|_| &inputs[3]))
                .with_residual(residual.then(|| &inputs[inputs.len() - 1]))
                .with_relu(relu);
            ops::batch_norm(&input).map(|(y, _)| y)
        },
        |at| {
            let bn = BatchNorm {
                weight: &at[1],
                bias: &at[2],
                eps: f64::from(EPS),
                gates: gates.map(|_| &at[3][..]),
                residual: residual.then(|| &at[at.len() - 1][..]),
                relu,
            };
            let (mean, var) = if batch_stats {
                reference::stats(dims, &at[0])
            } else {
                (widen(mean.data()), widen(var.data()))
            };
            reference::forward(dims, &bn, &mean, &var, &at[0])
        },
    );
}

#[test]
fn plain() {
    for x in SHAPES {
        for batch_stats in [true, false] {
            run(Case { x, batch_stats, gates: None, residual: false, relu: false });
        }
    }
}

#[test]
fn every_epilogue() {
    for x in SHAPES {
        for batch_stats in [true, false] {
            for gates in DENSITIES.map(Some).into_iter().chain([None]) {
                for residual in [true, false] {
                    run(Case { x, batch_stats, gates, residual, relu: false });
                    // A kink at an off plane: without a residual its sum is exactly 0.
                    if residual || matches!(gates, None | Some(Density::All)) {
                        run(Case { x, batch_stats, gates, residual, relu: true });
                    }
                }
            }
        }
    }
}

#[test]
fn statistics_are_of_the_batch() {
    let x = random(&[3, 2, 4, 5], 1);
    let (one, zero) = (Tensor::full([2], 1.0), Tensor::zeros([2]));
    let (one, zero) = (one.expect("small"), zero.expect("small"));
    let input = BatchNormInput::new(&x, &one, &zero, Stats::Batch, EPS);
    let (_, stats) = ops::batch_norm(&input).expect("shapes fit");
    let stats = stats.expect("the batch's");
    let dims = PlaneDims { batch: 3, channels: 2, plane: 20 };
    let (mean, var) = reference::stats(dims, &widen(x.data()));
    for (got, want) in [(&stats.mean, mean), (&stats.var, var)] {
        for (got, want) in widen(got.data()).into_iter().zip(want) {
            assert_abs_diff_eq!(got, want, epsilon = 1e-6);
        }
    }
    let fixed = Stats::Fixed { mean: &zero, var: &one };
    let (_, stats) =
        ops::batch_norm(&BatchNormInput::new(&x, &one, &zero, fixed, EPS)).expect("fits");
    assert!(stats.is_none());
}

#[test]
fn one_value_per_channel_cannot_train() {
    let (x, c) = (random(&[1, 4, 1, 1], 1), random(&[4], 2));
    let input = BatchNormInput::new(&x, &c, &c, Stats::Batch, EPS);
    let text = ops::batch_norm(&input).expect_err("1 value per channel").to_string();
    assert!(
        text.contains("more than 1 value per channel") && text.contains("(1, 4, 1, 1)"),
        "{text}"
    );
}
