//! Gates, and the slices of the gate matrix.

use std::cell::Cell;

use gaternet_core::gate::{
    self, Estimator, GateCost, GateDensities, GateDraw, RunningCost, SemHashDraw, TauSchedule,
};
use gaternet_core::{Result, Tensor, ops};
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
fn repeat_interleave() {
    for repeats in [[1, 1, 1], [8, 8, 3], [1, 0, 4]] {
        let repeat = |row: &[f64]| -> Vec<f64> {
            row.iter().zip(repeats).flat_map(|(&x, times)| vec![x; times]).collect()
        };
        Check {
            op: "repeat_interleave",
            case: format!("{repeats:?}"),
            inputs: vec![("x", random(&[4, 3], 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| ops::repeat_interleave(&inputs[0], &repeats),
            |at| at[0].chunks(3).flat_map(repeat).collect(),
        );
    }
    let error = ops::repeat_interleave(&random(&[4, 3], 1), &[1, 2]).expect_err("3 columns");
    assert!(error.to_string().contains("2 for (4, 3)"), "{error}");
}

#[test]
fn soft_sem_hash() {
    let draw = SemHashDraw { noise: random(&[3, 5], 2), discrete: vec![false; 3] };
    let noise: Vec<f64> = widen(draw.noise.data());
    let draw = GateDraw::SemHash(draw);
    Check {
        op: "sem_hash",
        case: "soft".to_owned(),
        inputs: vec![("logits", random(&[3, 5], 1))],
        tolerance: 1e-5,
    }
    .run(
        |inputs| Estimator::SemHash.apply(&inputs[0], &[5], &draw, 0.0),
        |at| {
            let soft = |(p, e): (&f64, &f64)| 1.2 / (1.0 + (-p - e).exp()) - 0.1;
            at[0].iter().zip(&noise).map(soft).map(|g| g.clamp(0.0, 1.0)).collect()
        },
    );
}

#[test]
fn soft_gumbel_sigmoid() {
    let noise = random(&[3, 5], 2);
    let draw = GateDraw::Logistic(noise.clone());
    for tau in [0.5, 2.0] {
        let estimator = Estimator::GumbelSigmoid { tau: TauSchedule::constant(tau), hard: false };
        Check {
            op: "gumbel_sigmoid",
            case: format!("soft, tau {tau}"),
            inputs: vec![("logits", random(&[3, 5], 1))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| estimator.apply(&inputs[0], &[5], &draw, 0.0),
            |at| {
                let soft = |(p, e): (&f64, f64)| 1.0 / (1.0 + (-(p + e) / tau).exp());
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

/// Mean of each layer in each sample: (layers, N).
fn open(gates: &[f64], widths: &[usize]) -> Vec<Vec<f64>> {
    let total: usize = widths.iter().sum();
    let mut start = 0;
    let mut layers = Vec::new();
    for width in widths {
        let mean = |row: &[f64]| row[start..start + width].iter().sum::<f64>() / *width as f64;
        layers.push(gates.chunks(total).map(mean).collect());
        start += width;
    }
    layers
}

#[test]
fn target_rate() {
    let widths = [2, 1, 4];
    Check {
        op: "target_rate",
        case: format!("{widths:?}"),
        inputs: vec![("gates", random(&[3, 7], 1))],
        tolerance: 1e-5,
    }
    .run(
        |inputs| gate::target_rate(&inputs[0], &widths, 0.3),
        |at| {
            let layers = open(&at[0], &widths);
            let square = |layer: &Vec<f64>| (layer.iter().sum::<f64>() / 3.0 - 0.3).powi(2);
            vec![layers.iter().map(square).sum::<f64>() / 3.0]
        },
    );
}

/// A convolution: MACs, and the layers whose densities multiply them.
type Conv = (f64, Option<usize>, Option<usize>);

/// Blocks of convolutions whose cost is that of the MACs that run, beside 12 that always do and a
/// gater of 5.
struct Blocks(Vec<Vec<Conv>>);

impl Blocks {
    /// MACs of each block with everything open.
    fn dense(&self) -> Vec<f64> {
        self.0.iter().map(|block| block.iter().map(|(macs, ..)| macs).sum()).collect()
    }

    fn whole(&self) -> f64 {
        12.0 + self.dense().iter().sum::<f64>()
    }
}

/// The density of a layer in sample n; 1 without a layer.
fn density(densities: &GateDensities, layer: Option<usize>, n: usize) -> f64 {
    layer.map_or(1.0, |layer| densities.layer(layer)[n])
}

impl GateCost for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }

    fn running(&self, densities: &GateDensities) -> Result<RunningCost> {
        let batch = densities.batch();
        let (mut ratio, mut parts) = (17.0, Vec::new());
        for (block, dense) in self.0.iter().zip(self.dense()) {
            let mut ran = 0.0;
            for &(macs, filters, channels) in block {
                let pair = |n| density(densities, filters, n) * density(densities, channels, n);
                ran += macs * (0..batch).map(pair).sum::<f64>() / batch as f64;
            }
            parts.push(ran / dense);
            ratio += ran;
        }
        Ok(RunningCost { ratio: ratio / self.whole(), parts })
    }

    fn gradient(
        &self,
        densities: &GateDensities,
        by_ratio: f64,
        by_parts: &[f64],
    ) -> Result<Vec<Vec<f64>>> {
        let batch = densities.batch();
        let mut grads = vec![vec![0.0; batch]; densities.layers()];
        for ((block, dense), by_part) in self.0.iter().zip(self.dense()).zip(by_parts) {
            let slope = by_ratio / self.whole() + by_part / (dense * self.0.len() as f64);
            for &(macs, filters, channels) in block {
                for (layer, other) in [(filters, channels), (channels, filters)] {
                    let Some(layer) = layer else { continue };
                    for (n, grad) in grads[layer].iter_mut().enumerate() {
                        *grad += slope * macs * density(densities, other, n) / batch as f64;
                    }
                }
            }
        }
        Ok(grads)
    }

    fn part_fraction(&self, target: f64) -> Result<f64> {
        Ok((target * (12.0 + 110.0) - 17.0) / 110.0)
    }
}

#[test]
fn target_cost() {
    let widths = [2, 3, 1];
    // A convolution may read the layer it writes.
    let blocks = vec![
        vec![(30.0, Some(0), None), (50.0, Some(1), Some(0))],
        vec![(20.0, Some(2), Some(2)), (7.0, None, Some(1)), (3.0, None, None)],
    ];
    let costs = Blocks(blocks);
    let target = 0.5;
    let was_near = Cell::new(false);
    // Above both bounds, within, and below.
    for (shift, progress) in
        [(0.7, 0.0), (0.7, 0.2), (0.5, 0.25), (-0.1, 0.1), (0.4, 0.9), (0.559, 0.9)]
    {
        let gates = random(&[4, 6], 1);
        let near = gates.data().iter().map(|gate| shift + 0.1 * gate).collect();
        Check {
            op: "target_cost",
            case: format!("gates near {shift}, progress {progress}"),
            inputs: vec![("gates", Tensor::new(near, [4, 6]).expect("24 gates"))],
            tolerance: 1e-5,
        }
        .run(
            |inputs| gate::target_cost(&inputs[0], &widths, &costs, target, progress),
            |at| {
                let layers = open(&at[0], &widths);
                let fraction = (target * (12.0 + 110.0) - 17.0) / 110.0;
                let (lower, upper) = gate::block_bounds(fraction, progress);
                let (mut executed, mut dense, mut outside) = (17.0, 12.0, 0.0);
                for block in &costs.0 {
                    let (mut ran, mut all) = (0.0, 0.0);
                    for (macs, filters, channels) in block {
                        let of =
                            |layer: &Option<usize>, n: usize| layer.map_or(1.0, |s| layers[s][n]);
                        let pairs = (0..4).map(|n| of(filters, n) * of(channels, n));
                        ran += macs * pairs.sum::<f64>() / 4.0;
                        all += macs;
                    }
                    let fraction: f64 = ran / all;
                    outside += (fraction - upper).max(0.0).powi(2) / 2.0;
                    outside += (lower - fraction).max(0.0).powi(2) / 2.0;
                    executed += ran;
                    dense += all;
                }
                let (excess, near) = ((executed / dense - target).abs(), 0.02 * target);
                let distance = if excess > near {
                    excess - near / 2.0
                } else {
                    was_near.set(true);
                    excess.powi(2) / (2.0 * near)
                };
                vec![distance + outside]
            },
        );
    }
    assert!(was_near.get(), "no case is near the target");
}

#[test]
fn batch_shaping() {
    let probabilities = ops::sigmoid(&random(&[7, 3], 1)).expect("any shape");
    Check {
        op: "batch_shaping",
        case: "Beta(2, 5)".to_owned(),
        inputs: vec![("probabilities", probabilities)],
        tolerance: 1e-5,
    }
    .run(
        |inputs| gate::batch_shaping(&inputs[0], 2.0, 5.0),
        |at| {
            // With whole parameters the distribution function is a binomial sum.
            let cdf = |x: f64| {
                let terms = [15.0, 20.0, 15.0, 6.0, 1.0].into_iter().zip(2..);
                terms.map(|(c, j)| c * x.powi(j) * (1.0 - x).powi(6 - j)).sum::<f64>()
            };
            let mut loss = 0.0;
            for gate in 0..3 {
                let mut column: Vec<f64> = at[0].iter().skip(gate).step_by(3).copied().collect();
                column.sort_by(f64::total_cmp);
                let distance = |(rank, x): (usize, &f64)| cdf(*x) - (rank + 1) as f64 / 8.0;
                loss += column.iter().enumerate().map(distance).map(|d| d * d).sum::<f64>();
            }
            vec![loss / 21.0]
        },
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
