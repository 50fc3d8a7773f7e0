//! Time that an inference plan takes, over the densities of its gates.

mod measure;

use gaternet_core::{Error, Result};

use crate::cost::{ConvTime, LatencyCosts, TimeTable};
use crate::files::model::Model;
use crate::gating::gate_plan::ConvGates;
use crate::gating::gated_net::GatedNet;
use crate::plan::PlanOptions;

const OP: &str = "latency model";

/// A model of the time of a pass of an [`InferencePlan`](crate::InferencePlan) on this machine,
/// from the fraction of each layer's gates that is open.
///
/// A measurement of some seconds runs the plan with random gates and times each step in place, with
/// the caches as they are there. Convolutions of one shape share their measurements: seconds at
/// each pair of four densities of filters and channels, between which the model is linear in both.
/// A pass is
///
/// `gater + lists + rate · sum over the steps of their seconds`,
///
/// where the rate, of about one over the number of threads that run images of their own, is
/// measured too. The model knows only how many gates are open, not which.
#[derive(Debug, Clone)]
pub struct LatencyModel {
    batch: usize,
    /// Number of gated layers.
    layers: usize,
    /// Seconds of a batch in the gater.
    gater: f64,
    /// Seconds of a batch in steps whose time no gate changes.
    fixed: f64,
    convs: Vec<Conv>,
    tables: Vec<TimeTable>,
    total: Total,
}

/// A gated convolution, or one that reads gated channels.
#[derive(Debug, Clone, Copy)]
struct Conv {
    layers: ConvGates,
    /// Index of the table of its shape, in seconds of a batch.
    table: usize,
}

/// The wall-clock time for a sum of the times of all threads: `start + rate · sum`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Total {
    start: f64,
    rate: f64,
}

impl LatencyModel {
    /// Number of images of a pass.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Seconds of a pass, gater included, if on average `densities[i]` of the gates of gated layer
    /// i of the [`GatePlan`](crate::GatePlan) are open; for a plain network without densities.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not a density from 0 to 1 for each gated layer.
    pub fn seconds(&self, densities: &[f64]) -> Result<f64> {
        let rule = "there must be a density from 0 to 1 for each layer of the gate plan";
        if densities.len() != self.layers {
            let got = format!("{} for {} layers", densities.len(), self.layers);
            return Err(Error::Shape { op: OP, rule, got });
        }
        if let Some(density) = densities.iter().find(|density| !(0.0..=1.0).contains(*density)) {
            return Err(Error::Shape { op: OP, rule, got: density.to_string() });
        }
        let density = |layer: Option<usize>| layer.map_or(1.0, |layer| densities[layer]);
        let seconds = |conv: &Conv| {
            let ConvGates { filters, channels, .. } = conv.layers;
            self.tables[conv.table].at(density(filters), density(channels)).seconds
        };
        let steps = self.fixed + self.convs.iter().map(seconds).sum::<f64>();
        Ok(self.gater + self.total.of(steps))
    }

    /// The costs of a loss from this model, for a network that takes `plain` seconds without gates.
    #[must_use]
    pub fn costs(&self, plain: f64) -> LatencyCosts {
        let conv = |conv: &Conv| {
            let ConvGates { filters, channels, .. } = conv.layers;
            ConvTime { filters, channels, table: conv.table }
        };
        LatencyCosts {
            plain,
            fixed: self.gater + self.total.of(self.fixed),
            convs: self.convs.iter().map(conv).collect(),
            tables: self.tables.iter().map(|table| table.scaled(self.total.rate)).collect(),
            layers: self.layers,
        }
    }
}

impl GatedNet {
    /// Measures the costs that [`GateLoss::TargetLatency`](crate::GateLoss::TargetLatency) needs,
    /// for [`with_latency`](Self::with_latency): runs plans made with `options` of this network and
    /// of its backbone without gates, on this machine. Takes some seconds; see
    /// [`LatencyModel::measure`].
    ///
    /// # Errors
    /// The errors of [`InferencePlan::new`](crate::InferencePlan::new).
    pub fn measure_latency(&self, options: PlanOptions) -> Result<LatencyCosts> {
        let plain = Model::Plain(Box::new(self.backbone().clone()));
        let gated = Model::Gated(Box::new(self.clone()));
        let [plain, gated] = LatencyModel::measure_both([&plain, &gated], options)?;
        Ok(gated.costs(plain.seconds(&[])?))
    }
}

impl Total {
    /// The least-squares line through pairs (sum, wall clock), through the origin if it would start
    /// below 0.
    fn fit(pairs: &[(f64, f64)]) -> Total {
        let count = pairs.len().max(1) as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
        let (sum, wall) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
        let spread = mean(&|pair| (pair.0 - sum).powi(2));
        let together = mean(&|pair| (pair.0 - sum) * (pair.1 - wall));
        let rate = if spread > 0.0 { together / spread } else { 0.0 };
        let start = wall - rate * sum;
        match rate > 0.0 && start >= 0.0 {
            true => Total { start, rate },
            false => Total { start: 0.0, rate: if sum > 0.0 { wall / sum } else { 0.0 } },
        }
    }

    fn of(self, sum: f64) -> f64 {
        self.start + self.rate * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::DENSITIES;

    #[test]
    fn a_pass_is_the_sum_of_its_parts() {
        let conv = |filters, channels, table| Conv {
            layers: ConvGates { filters, channels, reader: None },
            table,
        };
        let model = LatencyModel {
            batch: 64,
            layers: 2,
            gater: 100.0,
            fixed: 6.0,
            convs: vec![conv(Some(0), None, 0), conv(Some(1), Some(0), 1), conv(None, Some(1), 1)],
            tables: vec![
                TimeTable::new(&DENSITIES, |f, _| 10.0 * DENSITIES[f]).expect("a table"),
                TimeTable::new(&DENSITIES, |f, c| 40.0 * DENSITIES[f] * DENSITIES[c])
                    .expect("a table"),
            ],
            total: Total { start: 3.0, rate: 0.5 },
        };
        for [a, b] in [[1.0, 1.0], [0.5, 0.25], [0.0, 0.9]] {
            let want = 100.0 + 3.0 + 0.5 * (6.0 + 10.0 * a + 40.0 * a * b + 40.0 * b);
            let got = model.seconds(&[a, b]).expect("two layers");
            assert!((got - want).abs() < 1e-9, "{a}, {b}: {got}, not {want}");
            let ratio = model.costs(200.0).ratio(&[a, b]).expect("two layers");
            assert!((ratio - want / 200.0).abs() < 1e-9, "{a}, {b}: {ratio}");
        }
        let error = model.seconds(&[1.0]).expect_err("a layer is missing").to_string();
        assert!(error.contains("1 for 2 layers"), "{error}");
        for density in [-0.1, 1.1, f64::NAN] {
            assert!(model.seconds(&[1.0, density]).is_err(), "{density}");
        }
    }

    #[test]
    fn the_wall_clock_is_a_line_over_the_sum() {
        let pairs = [2.0, 5.0, 11.0].map(|sum| (sum, 3.0 + 0.5 * sum));
        let Total { start, rate } = Total::fit(&pairs);
        assert!((start - 3.0).abs() < 1e-9 && (rate - 0.5).abs() < 1e-9, "{start}, {rate}");
        // Pairs whose line goes through the origin: two alike with noise, a line that falls, one
        // that starts below 0.
        for pairs in [&[(2.0, 1.1), (2.0, 0.9)][..], &[(1.0, 1.5), (3.0, 0.5)]] {
            assert_eq!(Total::fit(pairs), Total { start: 0.0, rate: 0.5 }, "{pairs:?}");
        }
        let steep = Total::fit(&[(2.0, 1.0), (4.0, 5.0)]);
        assert_eq!(steep, Total { start: 0.0, rate: 1.0 });
    }
}
