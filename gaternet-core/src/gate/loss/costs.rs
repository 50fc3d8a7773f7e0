//! What a network costs, and how much of it the gates switch.

use super::{open_shares, slot_dims};
use crate::error::{Error, Result, digits};
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

/// The multiply-accumulates of a network for one sample: the coefficients of [`target_macs`].
///
/// [`target_macs`]: super::target_macs()
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MacCosts {
    /// The convolutions that gates change, block by block.
    pub blocks: Vec<Vec<ConvMacs>>,
    /// Of what no gate changes: a stem, shortcuts, a classifier.
    pub fixed: f64,
    /// Of what decides the gates. It runs, but is no part of the network without gates.
    pub gater: f64,
}

/// `MacCosts` at the gates of a batch.
pub(super) struct Executed {
    /// For each slot, the mean gate of each sample: (slots, N).
    pub(super) shares: Vec<Vec<f64>>,
    /// MACs of each block with everything open.
    pub(super) dense: Vec<f64>,
    /// MACs of each block for a sample, the mean over the batch.
    pub(super) blocks: Vec<f64>,
}

impl MacCosts {
    /// What runs with gates (N, C), gater included, over the network without gates:
    ///
    /// ```text
    /// (gater + fixed + sum over convolutions of macs · mean over n of filters(n) · channels(n))
    ///   / (fixed + sum over convolutions of macs)
    /// ```
    ///
    /// where `filters(n)` and `channels(n)` are the means of the gates of sample n in the convolution's slots, 1
    /// without a slot: with gates of 0 and 1 this is live filters times live channels, sample by sample. The
    /// slots have these widths, in order.
    ///
    /// # Errors
    /// [`Error::Config`] if MACs are negative, not finite or 0 for a whole block, [`Error::Shape`] if there is
    /// no gate, the widths do not add up to C, or a convolution names a slot that is not there.
    pub fn ratio(&self, gates: &Tensor, widths: &[usize]) -> Result<f64> {
        Ok(self.ratio_of(&self.executed(gates, widths)?))
    }

    /// `Err` unless some gates have this [`ratio`](Self::ratio).
    ///
    /// # Errors
    /// [`Error::Config`] with the ratios of all gates closed and all open.
    pub fn check_target(&self, target: f64) -> Result<()> {
        self.block_share(target).map(|_| ())
    }

    pub(super) fn executed(&self, gates: &Tensor, widths: &[usize]) -> Result<Executed> {
        self.check(widths.len())?;
        let dims = slot_dims("target_macs", gates, widths)?;
        let shares = open_shares(gates, dims, widths);
        let executed =
            |block: &Vec<ConvMacs>| block.iter().map(|conv| conv.executed(&shares, dims[0])).sum();
        let blocks = self.blocks.iter().map(executed).collect();
        let dense = self.blocks.iter().map(|block| dense(block)).collect();
        Ok(Executed { shares, dense, blocks })
    }

    pub(super) fn ratio_of(&self, Executed { dense, blocks, .. }: &Executed) -> f64 {
        let always = self.gater + self.fixed;
        (always + blocks.iter().sum::<f64>()) / (self.fixed + dense.iter().sum::<f64>())
    }

    /// The share of its MACs that every block must execute so that the [`ratio`](Self::ratio) is `target`.
    ///
    /// # Errors
    /// [`Error::Config`] with the ratios of all gates closed and all open, if it is not between them.
    pub fn block_share(&self, target: f64) -> Result<f64> {
        let dense: f64 = self.blocks.iter().map(|block| dense(block)).sum();
        let (always, whole) = (self.gater + self.fixed, self.fixed + dense);
        let share = (target * whole - always) / dense;
        if (0.0..=1.0).contains(&share) {
            return Ok(share);
        }
        let [least, most] = [always / whole, (always + dense) / whole];
        Err(Error::Config {
            field: "target_macs",
            value: format!(
                "{} (all gates closed cost {least:.3}, all open {most:.3})",
                digits(target)
            ),
            rule: "must be between what the network costs with all gates closed and with all open, gater \
                   included: with a cheaper gater or more gates it can be lower",
        })
    }

    fn check(&self, slots: usize) -> Result<()> {
        let fail =
            |value: f64, rule| Err(Error::Config { field: "macs", value: value.to_string(), rule });
        let all = || self.blocks.iter().flatten();
        let macs = all().map(|conv| conv.macs).chain([self.fixed, self.gater]);
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
    pub(super) fn add_gradient(&self, shares: &[Vec<f64>], slope: f64, grads: &mut [Vec<f64>]) {
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

    #[test]
    fn pairs_of_filters_and_channels_are_counted_by_sample() {
        // Each slot is half open, but never both at once.
        let gates = Tensor::new(vec![1.0, 0.0, 0.0, 1.0], [2, 2]).expect("4 values");
        let ratio = |costs: &MacCosts| costs.ratio(&gates, &[1, 1]).expect("fits");
        let both =
            MacCosts { blocks: vec![vec![conv(8.0, Some(0), Some(1))]], ..MacCosts::default() };
        assert_eq!(ratio(&both), 0.0);
        let one = MacCosts { blocks: vec![vec![conv(8.0, Some(0), None)]], ..both };
        assert_eq!(ratio(&one), 0.5);
        let fixed = MacCosts { fixed: 8.0, ..one };
        assert_eq!(ratio(&fixed), 0.75);
        // A gater runs, but the network without gates has none.
        assert_eq!(ratio(&MacCosts { gater: 4.0, ..fixed }), 1.0);
    }

    #[test]
    fn the_share_of_a_block_leaves_out_what_always_runs() {
        let blocks = vec![vec![conv(6.0, Some(0), None)], vec![conv(2.0, Some(1), None)]];
        let costs = MacCosts { blocks, fixed: 2.0, gater: 1.0 };
        assert!((costs.block_share(0.5).expect("can be") - 2.0 / 8.0).abs() < 1e-12);
        assert!((costs.block_share(1.1).expect("can be") - 1.0).abs() < 1e-12);
        for target in [0.25, 1.2] {
            let text = costs.block_share(target).expect_err("cannot be").to_string();
            assert!(text.contains("closed cost 0.300, all open 1.100"), "{text}");
        }
    }

    #[test]
    fn costs_that_cannot_be_are_refused() {
        let gates = Tensor::full([2, 2], 0.5).expect("small");
        let try_with = |blocks: Vec<Vec<ConvMacs>>, fixed| {
            let costs = MacCosts { blocks, fixed, gater: 0.0 };
            costs.ratio(&gates, &[1, 1]).expect_err("refused").to_string()
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
    }
}
