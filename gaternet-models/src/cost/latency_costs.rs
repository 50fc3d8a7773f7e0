//! Seconds that a network takes, and how many of them the gates switch.

use gaternet_core::gate::{GateCost, GateDensities, RunningCost};
use gaternet_core::{Error, Result, digits};
use serde::{Deserialize, Serialize};

use super::time_table::TimeTable;

/// A convolution whose time the gates change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTime {
    /// The gated layer whose gates switch its filters; `None` if all run.
    pub filters: Option<usize>,
    /// The gated layer whose gates switch its input channels; `None` if all are read.
    pub channels: Option<usize>,
    /// Index of its table in [`LatencyCosts::tables`].
    pub table: usize,
}

/// Seconds that a batch takes, as they were measured on some machine: the [`GateCost`] of
/// [`GateLoss::TargetLatency`](crate::GateLoss::TargetLatency). The density of a gated layer is the
/// mean of its gates over the batch. The parts of the cost are the gated layers, and what runs of a
/// part is its density.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyCosts {
    /// Seconds of the network without gates; positive.
    pub plain: f64,
    /// Seconds of what no gate changes, the gater included.
    pub fixed: f64,
    /// The convolutions that the gates change.
    pub convs: Vec<ConvTime>,
    /// Seconds of the convolutions over their densities.
    pub tables: Vec<TimeTable>,
    /// Number of gated layers; `slots` in files of earlier versions.
    #[serde(alias = "slots")]
    pub layers: usize,
}

impl LatencyCosts {
    /// The time at these fractions of open gates in the gated layers, over that of the network
    /// without gates: `(fixed + sum over convolutions of table(filters, channels)) / plain`.
    ///
    /// # Errors
    /// [`Error::Config`] if the costs are not whole, [`Error::Shape`] if there is not a density for
    /// each gated layer.
    pub fn ratio(&self, densities: &[f64]) -> Result<f64> {
        self.check()?;
        if densities.len() != self.layers {
            let got = format!("{} for {} layers", densities.len(), self.layers);
            return Err(Error::Shape {
                op: "target_latency",
                rule: "there must be one density a layer",
                got,
            });
        }
        Ok(self.ratio_of(densities, |_, _| ()))
    }

    /// Checks that some gates have this [`ratio`](Self::ratio).
    ///
    /// # Errors
    /// [`Error::Config`] with the ratios of all gates closed and all open.
    pub fn check_target(&self, target: f64) -> Result<()> {
        self.density_for(target).map(|_| ())
    }

    /// The density of each gated layer over the batch.
    fn means(&self, densities: &GateDensities) -> Result<Vec<f64>> {
        self.check()?;
        if densities.layers() != self.layers {
            return Err(Error::Shape {
                op: "target_latency",
                rule: "the latency must be that of the gates' layers",
                got: format!("{} layers for {}", self.layers, densities.layers()),
            });
        }
        Ok(densities.means())
    }

    /// Computes the [`ratio`](Self::ratio); `each` gets gated layers and the change of the ratio
    /// with their densities.
    fn ratio_of(&self, densities: &[f64], mut each: impl FnMut(usize, f64)) -> f64 {
        let mut seconds = self.fixed;
        for conv in &self.convs {
            let density = |layer: Option<usize>| layer.map_or(1.0, |layer| densities[layer]);
            let time = self.tables[conv.table].at(density(conv.filters), density(conv.channels));
            seconds += time.seconds;
            for (layer, slope) in
                [(conv.filters, time.by_filters), (conv.channels, time.by_channels)]
            {
                if let Some(layer) = layer {
                    each(layer, slope / self.plain);
                }
            }
        }
        seconds / self.plain
    }

    /// The density at which the network meets the target, if all gated layers have it.
    fn density_for(&self, target: f64) -> Result<f64> {
        self.check()?;
        let ratio = |density: f64| self.ratio_of(&vec![density; self.layers], |_, _| ());
        let (mut below, mut above) = (0.0, 1.0);
        let [least, most] = [below, above].map(ratio);
        if !(least <= target && target <= most) {
            return Err(Error::Config {
                field: "target_latency",
                value: format!(
                    "{} (all gates closed take {least:.3}, all open {most:.3})",
                    digits(target)
                ),
                rule: "must be between what the network takes with all gates closed and with all \
                       open, gater included, over the plain one: with a cheaper gater or more \
                       gates it can be lower",
            });
        }
        for _ in 0..50 {
            let middle = f64::midpoint(below, above);
            *(if ratio(middle) > target { &mut above } else { &mut below }) = middle;
        }
        Ok(below)
    }

    fn check(&self) -> Result<()> {
        let fail = |value: String, rule| Err(Error::Config { field: "latency", value, rule });
        if !(self.plain.is_finite()
            && self.plain > 0.0
            && self.fixed.is_finite()
            && self.fixed >= 0.0)
        {
            let value = format!("{} of {}", self.fixed, self.plain);
            return fail(value, "must be finite, and that of the plain network positive");
        }
        let good = |conv: &ConvTime| {
            let layers = [conv.filters, conv.channels];
            conv.table < self.tables.len() && layers.into_iter().flatten().all(|s| s < self.layers)
        };
        match self.convs.iter().find(|conv| !good(conv)) {
            Some(conv) => fail(format!("{conv:?}"), "must name a layer and a table that there are"),
            None => Ok(()),
        }
    }
}

impl GateCost for LatencyCosts {
    fn name(&self) -> &'static str {
        "target_latency"
    }

    fn running(&self, densities: &GateDensities) -> Result<RunningCost> {
        let parts = self.means(densities)?;
        Ok(RunningCost { ratio: self.ratio_of(&parts, |_, _| ()), parts })
    }

    fn gradient(
        &self,
        densities: &GateDensities,
        by_ratio: f64,
        by_parts: &[f64],
    ) -> Result<Vec<Vec<f64>>> {
        let means = self.means(densities)?;
        let mut slopes = vec![0.0; self.layers];
        self.ratio_of(&means, |layer, slope| slopes[layer] += slope);
        let (batch, layers) = (densities.batch(), self.layers as f64);
        let grad = |(slope, by_part): (f64, &f64)| by_ratio * slope + by_part / layers;
        let of_batch = slopes.into_iter().zip(by_parts).map(grad);
        Ok(of_batch.map(|grad| vec![grad / batch as f64; batch]).collect())
    }

    fn part_fraction(&self, target: f64) -> Result<f64> {
        self.density_for(target)
    }
}

#[cfg(test)]
mod tests {
    use gaternet_core::Tensor;
    use gaternet_core::gate::target_cost;

    use super::*;

    const DENSITIES: [f64; 3] = [0.1, 0.5, 1.0];
    const WIDTHS: [usize; 2] = [2, 3];

    /// Costs of at most 10 ms for a convolution of one layer's filters, 20 for one that both layers
    /// switch, and one that reads the second layer.
    fn costs() -> LatencyCosts {
        let conv = |filters, channels, table| ConvTime { filters, channels, table };
        let table = |seconds: fn(usize, usize) -> f64| {
            TimeTable::new(&DENSITIES, seconds).expect("a table")
        };
        LatencyCosts {
            plain: 0.040,
            fixed: 0.004,
            convs: vec![conv(Some(0), None, 0), conv(Some(1), Some(0), 1), conv(None, Some(1), 2)],
            tables: vec![
                table(|f, _| 0.010 * DENSITIES[f]),
                table(|f, c| 0.020 * DENSITIES[f] * DENSITIES[c]),
                table(|_, c| 0.002 + 0.006 * DENSITIES[c].powi(2)),
            ],
            layers: 2,
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_mean_gates() {
        let want = (0.004 + 0.005 + 0.020 * 0.25 + 0.002 + 0.006 * 0.25) / 0.040;
        let got = costs().ratio(&[0.5, 0.5]).expect("two layers");
        assert!((got - want).abs() < 1e-12, "{got}, not {want}");
        costs().check_target(0.5).expect("between");
        for target in [0.1, 1.2, f64::NAN] {
            let text = costs().check_target(target).expect_err("cannot be").to_string();
            assert!(
                text.contains("(all gates closed take 0.1") && text.contains("open 1.050"),
                "{text}"
            );
        }
        assert!(costs().ratio(&[0.5]).is_err());
    }

    #[test]
    fn gradients_are_those_of_central_differences() {
        let values = [0.9, 0.2, 0.3, 0.8, 0.75, 0.1, 0.7, 0.95, 0.2, 0.35];
        let at = |values: &[f32], target, progress| {
            let gates = Tensor::new(values.to_vec(), [2, 5]).expect("10 values").leaf();
            let loss = target_cost(&gates, &WIDTHS, &costs(), target, progress).expect("fits");
            let grads = loss.backward().expect("in a graph");
            let grads = grads.of(&gates).expect("a leaf").data().to_vec();
            (f64::from(loss.item().expect("a scalar")), grads)
        };
        for (target, progress) in [(0.3, 0.0), (0.3, 0.2), (0.56, 1.0), (0.8, 0.5)] {
            let (_, grads) = at(&values, target, progress);
            for (i, grad) in grads.into_iter().enumerate() {
                let moved = |by: f32| {
                    let mut values = values;
                    values[i] += by;
                    at(&values, target, progress).0
                };
                let want = (moved(0.004) - moved(-0.004)) / 0.008;
                let error = (f64::from(grad) - want).abs();
                assert!(error < 2e-3 * want.abs().max(0.05), "{target}, gate {i}: {grad}, {want}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let gates = Tensor::full([2, 5], 0.5).expect("small");
        let with = |change: fn(&mut LatencyCosts)| {
            let mut costs = costs();
            change(&mut costs);
            target_cost(&gates, &WIDTHS, &costs, 0.5, 0.5).expect_err("refused").to_string()
        };
        assert!(with(|costs| costs.plain = 0.0).contains("latency = 0.004 of 0"));
        assert!(with(|costs| costs.convs[1].table = 3).contains("table: 3"));
        assert!(with(|costs| costs.convs[0].filters = Some(2)).contains("filters: Some(2)"));
        assert!(with(|costs| costs.layers = 3).contains("3 layers for 2"));
        assert!(target_cost(&gates, &[5], &costs(), 0.5, 0.5).is_err());
        assert!(target_cost(&gates, &WIDTHS, &costs(), 0.5, 1.5).is_err());
    }

    #[test]
    fn costs_come_back_from_a_file() {
        let json = serde_json::to_string(&costs()).expect("plain data");
        assert_eq!(serde_json::from_str::<LatencyCosts>(&json).expect(&json), costs());
    }
}
