//! Multiply-accumulates of a network, and how many of them the gates switch.

use gaternet_core::gate::{GateCost, GateDensities, RunningCost};
use gaternet_core::{Error, Result, Tensor, digits};

/// Multiply-accumulates of one convolution, and the gates that save some.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvMacs {
    /// Multiply-accumulates for one sample with every filter and channel active.
    pub macs: f64,
    /// The gated layer whose gates switch its filters; `None` if all run.
    pub filters: Option<usize>,
    /// The gated layer whose gates switch its input channels; `None` if all are read.
    pub channels: Option<usize>,
}

/// The multiply-accumulates of a network for one sample: the [`GateCost`] of
/// [`GateLoss::TargetMacs`](crate::GateLoss::TargetMacs), whose parts are the blocks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MacCosts {
    /// The convolutions that the gates change, block by block.
    pub blocks: Vec<Vec<ConvMacs>>,
    /// Multiply-accumulates that no gate changes: a stem, shortcuts, a classifier.
    pub fixed: f64,
    /// Multiply-accumulates of the gater. It runs, but is no part of the network without gates.
    pub gater: f64,
}

impl MacCosts {
    /// The MACs that run with gates (N, C), gater included, over those of the network without
    /// gates:
    ///
    /// ```text
    /// (gater + fixed + sum over convolutions of macs · mean over n of filters(n) · channels(n))
    ///   / (fixed + sum over convolutions of macs)
    /// ```
    ///
    /// where `filters(n)` and `channels(n)` are the means of the gates of sample n in the
    /// convolution's gated layers, 1 without one: with gates of 0 and 1 this is active filters
    /// times active channels, sample by sample. `widths` are the numbers of filters of the gated
    /// layers, in order.
    ///
    /// # Errors
    /// [`Error::Config`] if MACs are negative, not finite or 0 for a whole block, [`Error::Shape`]
    /// if there is no gate, the widths do not add up to C, or a convolution names a gated layer
    /// that is not there.
    pub fn ratio(&self, gates: &Tensor, widths: &[usize]) -> Result<f64> {
        Ok(self.running(&GateDensities::new(gates, widths)?)?.ratio)
    }

    /// Checks that some gates have this [`ratio`](Self::ratio).
    ///
    /// # Errors
    /// [`Error::Config`] with the ratios of all gates closed and all open.
    pub fn check_target(&self, target: f64) -> Result<()> {
        self.block_fraction(target).map(|_| ())
    }

    /// The fraction of its MACs that every block must execute so that the [`ratio`](Self::ratio) is
    /// `target`.
    ///
    /// # Errors
    /// [`Error::Config`] with the ratios of all gates closed and all open, if it is not between
    /// them.
    pub fn block_fraction(&self, target: f64) -> Result<f64> {
        let dense = self.dense();
        let (always, whole) = (self.gater + self.fixed, self.fixed + dense);
        let fraction = (target * whole - always) / dense;
        if (0.0..=1.0).contains(&fraction) {
            return Ok(fraction);
        }
        let [least, most] = [always / whole, (always + dense) / whole];
        Err(Error::Config {
            field: "target_macs",
            value: format!(
                "{} (all gates closed cost {least:.3}, all open {most:.3})",
                digits(target)
            ),
            rule: "must be between what the network costs with all gates closed and with all \
                   open, gater included: with a cheaper gater or more gates it can be lower",
        })
    }

    /// MACs of all blocks with every filter active.
    fn dense(&self) -> f64 {
        self.blocks.iter().map(|block| dense(block)).sum()
    }

    fn check(&self, layers: usize) -> Result<()> {
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
        let layer = |conv: &ConvMacs| conv.filters.max(conv.channels);
        if let Some(layer) = all().filter_map(layer).max().filter(|&layer| layer >= layers) {
            return Err(Error::Shape {
                op: "target_macs",
                rule: "a convolution's layers must be those of the gates",
                got: format!("layer {layer} of {layers}"),
            });
        }
        Ok(())
    }
}

impl GateCost for MacCosts {
    fn name(&self) -> &'static str {
        "target_macs"
    }

    fn running(&self, densities: &GateDensities) -> Result<RunningCost> {
        self.check(densities.layers())?;
        let executed =
            |block: &Vec<ConvMacs>| block.iter().map(|conv| conv.executed(densities)).sum();
        let blocks: Vec<f64> = self.blocks.iter().map(executed).collect();
        let ratio =
            (self.gater + self.fixed + blocks.iter().sum::<f64>()) / (self.fixed + self.dense());
        let parts = blocks.iter().zip(&self.blocks).map(|(ran, block)| ran / dense(block));
        Ok(RunningCost { ratio, parts: parts.collect() })
    }

    fn gradient(
        &self,
        densities: &GateDensities,
        by_ratio: f64,
        by_parts: &[f64],
    ) -> Result<Vec<Vec<f64>>> {
        self.check(densities.layers())?;
        let (whole, blocks) = (self.fixed + self.dense(), self.blocks.len() as f64);
        let mut grads = vec![vec![0.0; densities.batch()]; densities.layers()];
        for (block, by_part) in self.blocks.iter().zip(by_parts) {
            // Change of the cost with the MACs that the block executes.
            let slope = by_ratio / whole + by_part / (blocks * dense(block));
            for conv in block {
                conv.add_gradient(densities, slope / densities.batch() as f64, &mut grads);
            }
        }
        Ok(grads)
    }

    fn part_fraction(&self, target: f64) -> Result<f64> {
        self.block_fraction(target)
    }
}

fn dense(block: &[ConvMacs]) -> f64 {
    block.iter().map(|conv| conv.macs).sum()
}

impl ConvMacs {
    /// MACs of one sample, the mean over the batch.
    fn executed(&self, densities: &GateDensities) -> f64 {
        let open =
            |layer: Option<usize>, n: usize| layer.map_or(1.0, |layer| densities.layer(layer)[n]);
        let pairs = (0..densities.batch()).map(|n| open(self.filters, n) * open(self.channels, n));
        self.macs * pairs.sum::<f64>() / densities.batch() as f64
    }

    /// Adds the gradient of `slope · sum over n of the executed MACs` to that of the densities.
    fn add_gradient(&self, densities: &GateDensities, slope: f64, grads: &mut [Vec<f64>]) {
        for (layer, other) in [(self.filters, self.channels), (self.channels, self.filters)] {
            let Some(layer) = layer else { continue };
            for (n, grad) in grads[layer].iter_mut().enumerate() {
                *grad += slope * self.macs * other.map_or(1.0, |other| densities.layer(other)[n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gaternet_core::gate::target_cost;

    use super::*;

    fn conv(macs: f64, filters: Option<usize>, channels: Option<usize>) -> ConvMacs {
        ConvMacs { macs, filters, channels }
    }

    #[test]
    fn pairs_of_filters_and_channels_are_counted_by_sample() {
        // Each gated layer is half open, but never both at once.
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
    fn the_fraction_of_a_block_leaves_out_what_always_runs() {
        let blocks = vec![vec![conv(6.0, Some(0), None)], vec![conv(2.0, Some(1), None)]];
        let costs = MacCosts { blocks, fixed: 2.0, gater: 1.0 };
        assert!((costs.block_fraction(0.5).expect("can be") - 2.0 / 8.0).abs() < 1e-12);
        assert!((costs.block_fraction(1.1).expect("can be") - 1.0).abs() < 1e-12);
        for target in [0.25, 1.2] {
            let text = costs.block_fraction(target).expect_err("cannot be").to_string();
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
        assert!(text.contains("layer 2 of 2"), "{text}");
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
    #[test]
    fn targets_that_cannot_be_met_are_refused() {
        let gates = Tensor::full([2, 2], 0.5).expect("small");
        let blocks = vec![vec![conv(4.0, Some(0), None)], vec![conv(4.0, Some(1), None)]];
        let costs = MacCosts { blocks, ..MacCosts::default() };
        let with_gater = MacCosts { gater: 4.0, ..costs.clone() };
        for (costs, target, progress, part) in [
            (&with_gater, 0.4, 0.5, "target_macs = 0.4 (all gates closed cost 0.500"),
            (&costs, 1.1, 0.5, "target_macs = 1.1 (all gates closed cost 0.000"),
            (&costs, f64::NAN, 0.5, "target_macs = NaN"),
            (&costs, 0.5, 1.5, "progress = 1.5"),
            (&MacCosts::default(), 0.5, 0.5, "there must be a block"),
        ] {
            let error = target_cost(&gates, &[1, 1], costs, target, progress);
            let text = error.expect_err(part).to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    /// Central differences in f64, in which [`GateCost::running`] itself computes, are exact to
    /// about 1e-9.
    #[test]
    fn gradients_are_those_of_central_differences() {
        let widths = [1, 1, 1];
        // A convolution may read the gated layer that it writes.
        let costs = MacCosts {
            blocks: vec![
                vec![conv(30.0, Some(0), None), conv(50.0, Some(1), Some(0))],
                vec![conv(20.0, Some(2), Some(2)), conv(7.0, None, Some(1)), conv(3.0, None, None)],
            ],
            fixed: 12.0,
            gater: 5.0,
        };
        let values = [0.5, 0.25, 0.75, 0.125, 1.0, 0.375];
        let densities = |values: &[f32]| {
            let gates = Tensor::new(values.to_vec(), [2, 3]).expect("6 values");
            GateDensities::new(&gates, &widths).expect("3 layers")
        };
        let (by_ratio, by_parts) = (0.7, [-0.4, 1.3]);
        let value = |values: &[f32]| {
            let RunningCost { ratio, parts } = costs.running(&densities(values)).expect("fits");
            by_ratio * ratio + (by_parts[0] * parts[0] + by_parts[1] * parts[1]) / 2.0
        };
        let grads = costs.gradient(&densities(&values), by_ratio, &by_parts).expect("fits");
        // A power of two, which every one of these gates can take exactly.
        let step = 1.0 / 1024.0;
        for (layer, grads) in grads.iter().enumerate() {
            for (n, grad) in grads.iter().enumerate() {
                let moved = |by: f32| {
                    let mut values = values;
                    values[n * 3 + layer] += by;
                    value(&values)
                };
                let want = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                assert!(
                    (grad - want).abs() < 1e-9,
                    "layer {layer}, sample {n}: {grad}, not {want}"
                );
            }
        }
    }
}
