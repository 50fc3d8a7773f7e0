//! A cost for the whole network, and bounds for its parts that loosen.

use std::f64::consts::FRAC_PI_2;

use super::{GateCost, GateDensities, fraction, positive, with_gradient};
use crate::error::Result;
use crate::tensor::Tensor;

/// Share of the training after which no bound holds.
const BOUNDED: f64 = 1.0 / 3.0;
/// Within this fraction of the target the pull of the loss grows in proportion to the distance;
/// beyond, it is the same everywhere.
const NEAR: f64 = 0.02;

/// A penalty for every fraction of the network's cost that is above or below the target, shape
/// `()`, of gates (N, C) in layers of these widths:
///
/// ```text
/// d(ratio - target) + mean over parts of max(0, part - upper)² + max(0, lower - part)²
/// d(x) = |x| - r/2 where |x| > r, else x² / 2r;    r = 0.02 · target
/// ```
///
/// `ratio` and `part` are those of [`GateCost::running`]: everything that runs over the network
/// without gates, and the fraction of a part that runs. The bounds are those of [`block_bounds`] at
/// `progress`, the fraction of the training that is done, around [`GateCost::part_fraction`], at
/// which all parts together meet the target: early in the training none is closed before it has
/// learnt anything, later only the sum counts.
///
/// Bounds and count are those of Dynamic Convolutions (Verelst & Tuytelaars 2020, arXiv
/// 1912.03203), whose first term is `(ratio - target)²`. Its pull vanishes at the target, where
/// that of the task does not, so that a network comes to rest above it. Here the pull of a weight w
/// is w all the way (an exact penalty): the network comes to rest within `r · p / w` of the target,
/// where the task would pay p for a whole network more.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if the gates cannot meet the target, the target is not
/// positive or progress is not 0 to 1; [`Error::Shape`](crate::Error::Shape) if there is no gate or
/// the widths do not add up to C; those of the cost.
pub fn target_cost(
    gates: &Tensor,
    widths: &[usize],
    cost: &dyn GateCost,
    target: f64,
    progress: f64,
) -> Result<Tensor> {
    let op = cost.name();
    positive(op, target)?;
    fraction("progress", progress)?;
    let densities = GateDensities::of(op, gates, widths)?;
    let running = cost.running(&densities)?;
    let (lower, upper) = block_bounds(cost.part_fraction(target)?, progress);
    let (mut loss, pull) = pull_to(target, running.ratio);
    let parts = running.parts.len() as f64;
    let mut by_parts = Vec::with_capacity(running.parts.len());
    for part in &running.parts {
        // Positive above the upper bound, negative below the lower one.
        let outside = (part - upper).max(0.0) - (lower - part).max(0.0);
        loss += outside * outside / parts;
        by_parts.push(2.0 * outside);
    }
    let grads = cost.gradient(&densities, pull, &by_parts)?;
    with_gradient(op, loss, gates, densities.spread(op, &grads, widths)?)
}

/// The penalty `d(ratio - target)` of [`target_cost`], and its derivative.
fn pull_to(target: f64, ratio: f64) -> (f64, f64) {
    let (excess, near) = (ratio - target, NEAR * target);
    match excess.abs() > near {
        true => (excess.abs() - near / 2.0, excess.signum()),
        false => (excess * excess / (2.0 * near), excess / near),
    }
}

/// (lower, upper) bound of the fraction of a part that runs: both the target at the start, 0 and 1
/// after a third of the training. In between they are `s · target` and `1 - s · (1 - target)` with
/// `s = cos²(pi / 2 · 3 · progress)`.
#[must_use]
pub fn block_bounds(target: f64, progress: f64) -> (f64, f64) {
    let strictness = ((progress / BOUNDED).clamp(0.0, 1.0) * FRAC_PI_2).cos().powi(2);
    (strictness * target, 1.0 - strictness * (1.0 - target))
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::error::Error;
    use crate::gate::RunningCost;

    /// Two parts of one layer each, each half of the network, whose gradient lacks a sample if
    /// `short`.
    struct Halves {
        short: bool,
    }

    impl GateCost for Halves {
        fn name(&self) -> &'static str {
            "halves"
        }

        fn running(&self, densities: &GateDensities) -> Result<RunningCost> {
            let parts = densities.means();
            Ok(RunningCost { ratio: (parts[0] + parts[1]) / 2.0, parts })
        }

        fn gradient(
            &self,
            densities: &GateDensities,
            by_ratio: f64,
            by_parts: &[f64],
        ) -> Result<Vec<Vec<f64>>> {
            let batch = densities.batch();
            let of_part = |by_part| (by_ratio + by_part) / (2 * batch) as f64;
            let samples = batch - usize::from(self.short);
            Ok(by_parts.iter().map(|by_part| vec![of_part(by_part); samples]).collect())
        }

        fn part_fraction(&self, target: f64) -> Result<f64> {
            if (0.0..=1.0).contains(&target) {
                return Ok(target);
            }
            let (field, value) = ("halves", target.to_string());
            Err(Error::Config { field, value, rule: "must be 0 to 1" })
        }
    }

    fn loss(gates: [f32; 4], target: f64, progress: f64) -> (f64, Vec<f32>) {
        let gates = Tensor::new(gates.to_vec(), [2, 2]).expect("4 values").leaf();
        let cost = Halves { short: false };
        let loss = target_cost(&gates, &[1, 1], &cost, target, progress).expect("fits");
        let grads = loss.backward().expect("in a graph");
        let grads = grads.of(&gates).expect("a leaf").data().to_vec();
        (f64::from(loss.item().expect("a scalar")), grads)
    }

    #[test]
    fn bounds_hold_early_and_then_only_the_sum_counts() {
        assert_eq!(block_bounds(0.25, 0.0), (0.25, 0.25));
        let (lower, upper) = block_bounds(0.25, 1.0 / 6.0);
        assert_abs_diff_eq!(lower, 0.125, epsilon = 1e-12);
        assert_abs_diff_eq!(upper, 0.625, epsilon = 1e-12);
        for progress in [1.0 / 3.0, 0.5, 1.0] {
            let (lower, upper) = block_bounds(0.25, progress);
            assert_abs_diff_eq!(lower, 0.0, epsilon = 1e-12);
            assert_abs_diff_eq!(upper, 1.0, epsilon = 1e-12);
        }
        // One part is open, the other closed: half of the cost.
        let gates = [1.0, 0.0, 1.0, 0.0];
        assert_abs_diff_eq!(loss(gates, 0.5, 0.0).0, 0.25, epsilon = 1e-7);
        assert_abs_diff_eq!(loss(gates, 0.5, 0.5).0, 0.0, epsilon = 1e-12);
    }

    #[test]
    fn the_pull_is_the_same_near_and_far_on_both_sides() {
        // What a gate of one sample of two, in one part of two, adds to the ratio.
        let each = 0.25;
        for (open, want) in [(1.0, each), (0.52, each), (0.505, each / 2.0), (0.45, -each)] {
            let (_, grads) = loss([open; 4], 0.5, 1.0);
            assert!(grads.iter().all(|grad| (grad - want).abs() < 1e-5), "{open}: {grads:?}");
        }
        assert_abs_diff_eq!(loss([0.5; 4], 0.5, 1.0).0, 0.0, epsilon = 1e-12);
        assert_abs_diff_eq!(loss([1.0; 4], 0.5, 1.0).0, 0.5 - 0.005, epsilon = 1e-7);
    }

    #[test]
    fn what_cannot_be_is_refused_and_named_as_the_cost_is() {
        let gates = Tensor::full([2, 2], 0.5).expect("small");
        for (short, widths, target, progress, part) in [
            (false, [1, 1], 1.1, 0.5, "halves = 1.1: must be 0 to 1"),
            (false, [1, 1], f64::NAN, 0.5, "halves = NaN: must be positive"),
            (false, [1, 1], 0.5, 1.5, "progress = 1.5"),
            (false, [1, 2], 0.5, 0.5, "halves: the layers' widths"),
            (true, [1, 1], 0.5, 0.5, "halves: the gradient of a cost must have a number for each"),
        ] {
            let error = target_cost(&gates, &widths, &Halves { short }, target, progress);
            let text = error.expect_err(part).to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
