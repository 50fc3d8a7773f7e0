//! A cost for the whole network, and bounds for its parts that loosen.

use std::f64::consts::FRAC_PI_2;

use super::{open_shares, share, slot_dims, spread, with_gradient};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Multiply-accumulates of one convolution, and the gates that save some.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvMacs {
    /// Of one sample with everything open.
    pub macs: f64,
    /// The slot whose gates switch its filters; `None` if all run.
    pub filters: Option<usize>,
    /// The slot whose gates switch its input channels; `None` if all are read.
    pub channels: Option<usize>,
}

/// What a network costs: the coefficients of [`target_macs`].
#[derive(Debug, Clone, PartialEq)]
pub struct MacCosts {
    /// The convolutions of each block.
    pub blocks: Vec<Vec<ConvMacs>>,
    /// Of one sample, for what no gate changes and no block holds: a stem, a classifier, a gater.
    pub fixed: f64,
}

/// Share of the training after which no bound holds.
const BOUNDED: f64 = 1.0 / 3.0;

/// The loss of Dynamic Convolutions (Verelst & Tuytelaars 2020, arXiv 1912.03203), shape `()`, of gates
/// (N, C):
///
/// ```text
/// (executed / dense - target)²
///   + mean over blocks of max(0, share - upper)² + max(0, lower - share)²
/// ```
///
/// A convolution executes `macs · mean over n of (open filters of n · open channels of n)`, where open is the
/// mean gate of the slot, 1 without one; `share` is executed over dense MACs of a block. The bounds are
/// those of [`block_bounds`] at `progress`, the share of the training that is done.
///
/// Early in the training the bounds keep each block at the target, so that none is closed before it has
/// learnt anything; later only the sum counts.
///
/// # Errors
/// [`Error::Config`] if target or progress is not 0 to 1 or MACs are negative, not finite or 0 for a whole
/// block; [`Error::Shape`] if there is no gate, the widths do not add up to C, or a convolution names a
/// slot that is not there.
pub fn target_macs(
    gates: &Tensor,
    widths: &[usize],
    costs: &MacCosts,
    target: f64,
    progress: f64,
) -> Result<Tensor> {
    share("target", target)?;
    share("progress", progress)?;
    costs.check(widths.len())?;
    let dims = slot_dims("target_macs", gates, widths)?;
    let shares = open_shares(gates, dims, widths);
    let (lower, upper) = block_bounds(target, progress);

    let batch = dims[0];
    let block_dense: Vec<f64> = costs.blocks.iter().map(|block| dense(block)).collect();
    let block_executed: Vec<f64> = costs
        .blocks
        .iter()
        .map(|block| block.iter().map(|conv| conv.executed(&shares, batch)).sum())
        .collect();
    let all_dense = costs.fixed + block_dense.iter().sum::<f64>();
    let excess = (costs.fixed + block_executed.iter().sum::<f64>()) / all_dense - target;
    let mut loss = excess * excess;

    let blocks = costs.blocks.len() as f64;
    let mut grads = vec![vec![0.0; batch]; widths.len()];
    for ((block, dense), executed) in costs.blocks.iter().zip(block_dense).zip(block_executed) {
        let share = executed / dense;
        // Positive above the upper bound, negative below the lower one.
        let outside = (share - upper).max(0.0) - (lower - share).max(0.0);
        loss += outside * outside / blocks;
        // Of the loss, with respect to the MACs that the block executes.
        let slope = 2.0 * excess / all_dense + 2.0 * outside / (blocks * dense);
        block.iter().for_each(|conv| conv.add_gradient(&shares, slope / batch as f64, &mut grads));
    }
    with_gradient("target_macs", loss, gates, spread(&grads, dims, widths))
}

/// (lower, upper) bound of the share of its MACs that a block executes: both the target at the start, 0 and
/// 1 after a third of the training. In between they are `s · target` and `1 - s · (1 - target)` with
/// `s = cos²(pi / 2 · 3 · progress)`.
#[must_use]
pub fn block_bounds(target: f64, progress: f64) -> (f64, f64) {
    let strictness = ((progress / BOUNDED).clamp(0.0, 1.0) * FRAC_PI_2).cos().powi(2);
    (strictness * target, 1.0 - strictness * (1.0 - target))
}

impl MacCosts {
    fn check(&self, slots: usize) -> Result<()> {
        let fail =
            |value: f64, rule| Err(Error::Config { field: "macs", value: value.to_string(), rule });
        let all = || self.blocks.iter().flatten();
        let macs = all().map(|conv| conv.macs).chain([self.fixed]);
        if let Some(bad) = macs.into_iter().find(|macs| !(macs.is_finite() && *macs >= 0.0)) {
            return fail(bad, "must be finite and not negative");
        }
        if self.blocks.is_empty() || self.blocks.iter().any(|block| dense(block) == 0.0) {
            return fail(0.0, "there must be a block, and every block must have some");
        }
        let slot = |conv: &ConvMacs| conv.filters.max(conv.channels);
        if let Some(slot) = all().filter_map(slot).max().filter(|&slot| slot >= slots) {
            return Err(Error::Shape {
                op: "target_macs",
                rule: "a convolution's slots must be those of the gates",
                got: format!("slot {slot} of {slots}"),
            });
        }
        Ok(())
    }
}

fn dense(block: &[ConvMacs]) -> f64 {
    block.iter().map(|conv| conv.macs).sum()
}

impl ConvMacs {
    /// MACs of one sample, the mean over the batch.
    fn executed(&self, shares: &[Vec<f64>], batch: usize) -> f64 {
        let open = |slot: Option<usize>, n: usize| slot.map_or(1.0, |slot| shares[slot][n]);
        let pairs = (0..batch).map(|n| open(self.filters, n) * open(self.channels, n));
        self.macs * pairs.sum::<f64>() / batch as f64
    }

    /// Adds the gradient of `slope · sum over n of the executed MACs` to that of the shares.
    fn add_gradient(&self, shares: &[Vec<f64>], slope: f64, grads: &mut [Vec<f64>]) {
        for (slot, other) in [(self.filters, self.channels), (self.channels, self.filters)] {
            let Some(slot) = slot else { continue };
            for (n, grad) in grads[slot].iter_mut().enumerate() {
                *grad += slope * self.macs * other.map_or(1.0, |other| shares[other][n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(macs: f64, filters: Option<usize>, channels: Option<usize>) -> ConvMacs {
        ConvMacs { macs, filters, channels }
    }

    fn loss(gates: &[f32], costs: &MacCosts, target: f64, progress: f64) -> f64 {
        let gates = Tensor::new(gates.to_vec(), [2, 2]).expect("4 values");
        let loss = target_macs(&gates, &[1, 1], costs, target, progress);
        f64::from(loss.and_then(|loss| loss.item()).expect("fits"))
    }

    #[test]
    fn pairs_of_filters_and_channels_are_counted_by_sample() {
        // Each slot is half open, but never both at once.
        let gates = [1.0, 0.0, 0.0, 1.0];
        let pair = MacCosts { blocks: vec![vec![conv(8.0, Some(0), Some(1))]], fixed: 0.0 };
        assert_eq!(loss(&gates, &pair, 0.0, 1.0), 0.0);
        let one = MacCosts { blocks: vec![vec![conv(8.0, Some(0), None)]], fixed: 0.0 };
        assert_eq!(loss(&gates, &one, 0.0, 1.0), 0.25);
        let fixed = MacCosts { fixed: 8.0, ..one };
        assert_eq!(loss(&gates, &fixed, 0.0, 1.0), 0.75 * 0.75);
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
        let blocks = vec![vec![conv(4.0, Some(0), None)], vec![conv(4.0, Some(1), None)]];
        let costs = MacCosts { blocks, fixed: 0.0 };
        let gates = [1.0, 0.0, 1.0, 0.0];
        assert!((loss(&gates, &costs, 0.5, 0.0) - 0.25).abs() < 1e-7);
        assert!(loss(&gates, &costs, 0.5, 0.5) < 1e-12);
    }

    #[test]
    fn costs_that_cannot_be_are_refused() {
        let gates = Tensor::full([2, 2], 0.5).expect("small");
        let try_with = |blocks: Vec<Vec<ConvMacs>>, fixed| {
            let costs = MacCosts { blocks, fixed };
            target_macs(&gates, &[1, 1], &costs, 0.5, 0.5).expect_err("refused").to_string()
        };
        let text = try_with(vec![vec![conv(1.0, Some(2), None)]], 0.0);
        assert!(text.contains("slot 2 of 2"), "{text}");
        for (blocks, fixed) in [
            (vec![], 1.0),
            (vec![vec![]], 1.0),
            (vec![vec![conv(-1.0, None, None)]], 0.0),
            (vec![vec![conv(1.0, None, None)]], f64::NAN),
        ] {
            let text = try_with(blocks, fixed);
            assert!(text.contains("macs = "), "{text}");
        }
        let costs = MacCosts { blocks: vec![vec![conv(1.0, None, None)]], fixed: 0.0 };
        let text = target_macs(&gates, &[1, 1], &costs, 0.5, 1.5).expect_err("late").to_string();
        assert!(text.contains("progress = 1.5"), "{text}");
    }
}
