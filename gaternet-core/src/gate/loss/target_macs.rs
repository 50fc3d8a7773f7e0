//! A cost for the whole network, and bounds for its parts that loosen.

use std::f64::consts::FRAC_PI_2;

use super::costs::MacCosts;
use super::{positive, share, slot_dims, spread, with_gradient};
use crate::error::Result;
use crate::tensor::Tensor;

/// Share of the training after which no bound holds.
const BOUNDED: f64 = 1.0 / 3.0;
/// Within this share of the target the pull of the loss grows in proportion to the distance; beyond, it
/// is the same everywhere.
const NEAR: f64 = 0.02;

/// A price for every share of the network's MACs that is above or below the target, shape `()`, of gates (N, C):
///
/// ```text
/// d(ratio - target) + mean over blocks of max(0, share - upper)² + max(0, lower - share)²
/// d(x) = |x| - r/2 where |x| > r, else x² / 2r;    r = 0.02 · target
/// ```
///
/// `ratio` is [`MacCosts::ratio`], everything that runs, gater included, over the network without gates; `share`
/// is executed over dense MACs of a block. The bounds are those of [`block_bounds`] at `progress`, the share of the
/// training that is done, around the share at which all blocks together meet the target: early in the training
/// none is closed before it has learnt anything, later only the sum counts.
///
/// Bounds and count are those of Dynamic Convolutions (Verelst & Tuytelaars 2020, arXiv 1912.03203), whose first
/// term is `(ratio - target)²`. Its pull vanishes at the target, where that of the task does not, so that a network
/// comes to rest above it. Here the pull of a weight w is w all the way (an exact penalty): the network comes to
/// rest within `r · p / w` of the target, where the task would pay p for a whole network's MACs more.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if the gates cannot meet the target, progress is not 0 to 1 or MACs are
/// negative, not finite or 0 for a whole block; [`Error::Shape`](crate::Error::Shape) if there is no gate, the
/// widths do not add up to C, or a convolution names a slot that is not there.
pub fn target_macs(
    gates: &Tensor,
    widths: &[usize],
    costs: &MacCosts,
    target: f64,
    progress: f64,
) -> Result<Tensor> {
    positive("target_macs", target)?;
    share("progress", progress)?;
    let executed = costs.executed(gates, widths)?;
    let (lower, upper) = block_bounds(costs.block_share(target)?, progress);
    let whole = costs.fixed + executed.dense.iter().sum::<f64>();
    let (mut loss, pull) = pull_to(target, costs.ratio_of(&executed));

    let dims = slot_dims("target_macs", gates, widths)?;
    let batch = dims[0];
    let blocks = costs.blocks.len() as f64;
    let mut grads = vec![vec![0.0; batch]; widths.len()];
    for ((block, dense), ran) in costs.blocks.iter().zip(&executed.dense).zip(&executed.blocks) {
        let share = ran / dense;
        // Positive above the upper bound, negative below the lower one.
        let outside = (share - upper).max(0.0) - (lower - share).max(0.0);
        loss += outside * outside / blocks;
        // Of the loss, with respect to the MACs that the block executes.
        let slope = pull / whole + 2.0 * outside / (blocks * dense);
        for conv in block {
            conv.add_gradient(&executed.shares, slope / batch as f64, &mut grads);
        }
    }
    with_gradient("target_macs", loss, gates, spread(&grads, dims, widths))
}

/// The price `d(ratio - target)` of [`target_macs`], and its derivative.
pub(super) fn pull_to(target: f64, ratio: f64) -> (f64, f64) {
    let (excess, near) = (ratio - target, NEAR * target);
    match excess.abs() > near {
        true => (excess.abs() - near / 2.0, excess.signum()),
        false => (excess * excess / (2.0 * near), excess / near),
    }
}

/// (lower, upper) bound of the share of its MACs that a block executes: both the target at the start, 0 and
/// 1 after a third of the training. In between they are `s · target` and `1 - s · (1 - target)` with
/// `s = cos²(pi / 2 · 3 · progress)`.
#[must_use]
pub fn block_bounds(target: f64, progress: f64) -> (f64, f64) {
    let strictness = ((progress / BOUNDED).clamp(0.0, 1.0) * FRAC_PI_2).cos().powi(2);
    (strictness * target, 1.0 - strictness * (1.0 - target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ConvMacs;

    /// Two blocks of one gate.
    fn costs() -> MacCosts {
        let conv = |slot| ConvMacs { macs: 4.0, filters: Some(slot), channels: None };
        MacCosts { blocks: vec![vec![conv(0)], vec![conv(1)]], ..MacCosts::default() }
    }

    fn loss(gates: [f32; 4], target: f64, progress: f64) -> (f64, Vec<f32>) {
        let gates = Tensor::new(gates.to_vec(), [2, 2]).expect("4 values").leaf();
        let loss = target_macs(&gates, &[1, 1], &costs(), target, progress).expect("fits");
        let grads = loss.backward().expect("in a graph");
        let grads = grads.of(&gates).expect("a leaf").data().to_vec();
        (f64::from(loss.item().expect("a scalar")), grads)
    }

    #[test]
    fn bounds_hold_early_and_then_only_the_sum_counts() {
        assert_eq!(block_bounds(0.25, 0.0), (0.25, 0.25));
        let (lower, upper) = block_bounds(0.25, 1.0 / 6.0);
        assert!((lower - 0.125).abs() < 1e-12 && (upper - 0.625).abs() < 1e-12);
        for progress in [1.0 / 3.0, 0.5, 1.0] {
            let (lower, upper) = block_bounds(0.25, progress);
            assert!(lower.abs() < 1e-12 && (upper - 1.0).abs() < 1e-12);
        }
        // One block is open, the other closed: half of the MACs.
        let gates = [1.0, 0.0, 1.0, 0.0];
        assert!((loss(gates, 0.5, 0.0).0 - 0.25).abs() < 1e-7);
        assert!(loss(gates, 0.5, 0.5).0 < 1e-12);
    }

    #[test]
    fn the_pull_is_the_same_near_and_far_on_both_sides() {
        // What a gate of one sample of two, in one block of two, adds to the ratio.
        let each = 0.25;
        for (open, want) in [(1.0, each), (0.52, each), (0.505, each / 2.0), (0.45, -each)] {
            let (_, grads) = loss([open; 4], 0.5, 1.0);
            assert!(grads.iter().all(|grad| (grad - want).abs() < 1e-5), "{open}: {grads:?}");
        }
        assert!(loss([0.5; 4], 0.5, 1.0).0 < 1e-12);
        assert!((loss([1.0; 4], 0.5, 1.0).0 - (0.5 - 0.005)).abs() < 1e-7);
    }

    #[test]
    fn targets_that_cannot_be_met_are_refused() {
        let gates = Tensor::full([2, 2], 0.5).expect("small");
        let with_gater = MacCosts { gater: 4.0, ..costs() };
        for (costs, target, progress, part) in [
            (&with_gater, 0.4, 0.5, "target_macs = 0.4 (all gates closed cost 0.500"),
            (&costs(), 1.1, 0.5, "target_macs = 1.1 (all gates closed cost 0.000"),
            (&costs(), f64::NAN, 0.5, "target_macs = NaN"),
            (&costs(), 0.5, 1.5, "progress = 1.5"),
            (&MacCosts::default(), 0.5, 0.5, "there must be a block"),
        ] {
            let error = target_macs(&gates, &[1, 1], costs, target, progress);
            let text = error.expect_err(part).to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
