//! What a model says of the cost of its gates.

use super::GateDensities;
use crate::error::Result;

/// The cost of a network as a function of its gates: what [`target_cost`](super::target_cost())
/// trains for.
///
/// A cost may be multiply-accumulates, seconds, joules, or whatever a caller can write as a
/// differentiable function of the densities of the gated layers. It is a ratio to the same network
/// without gates, so that targets are comparable, and is made of parts (the blocks of a network, or
/// its layers), for each of which it says which fraction of the part runs.
///
/// ```
/// use gaternet_core::{Result, Tensor, gate};
/// use gaternet_core::gate::{GateCost, GateDensities, RunningCost};
///
/// /// Layers of equal price, where the gater costs a tenth of the network.
/// struct EqualLayers;
///
/// impl GateCost for EqualLayers {
///     fn name(&self) -> &'static str {
///         "equal_layers"
///     }
///
///     fn running(&self, densities: &GateDensities) -> Result<RunningCost> {
///         let parts = densities.means();
///         Ok(RunningCost { ratio: 0.1 + parts.iter().sum::<f64>() / parts.len() as f64, parts })
///     }
///
///     fn gradient(
///         &self,
///         densities: &GateDensities,
///         by_ratio: f64,
///         by_parts: &[f64],
///     ) -> Result<Vec<Vec<f64>>> {
///         // Each density is 1 / N of its part, and that is 1 / parts of the ratio.
///         let each = 1.0 / (by_parts.len() * densities.batch()) as f64;
///         let of_part = |by_part| vec![each * (by_ratio + by_part); densities.batch()];
///         Ok(by_parts.iter().map(of_part).collect())
///     }
///
///     fn part_fraction(&self, target: f64) -> Result<f64> {
///         Ok(target - 0.1)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let gates = Tensor::full([2, 3], 1.0)?.leaf();
/// let loss = gate::target_cost(&gates, &[1, 2], &EqualLayers, 0.6, 1.0)?;
/// assert!(loss.backward()?.of(&gates)?.data().iter().all(|grad| *grad > 0.0));
/// # Ok(()) }
/// ```
pub trait GateCost {
    /// The name of the target among the settings, which errors have: `target_macs`.
    fn name(&self) -> &'static str;

    /// What runs with gates of these densities.
    ///
    /// # Errors
    /// If the cost is not of as many layers, or is not whole itself.
    fn running(&self, densities: &GateDensities) -> Result<RunningCost>;

    /// The gradient (layers, N) with respect to the densities of
    ///
    /// ```text
    /// by_ratio · ratio + mean over parts i of by_parts[i] · parts[i]
    /// ```
    ///
    /// with [`running`](Self::running)'s `ratio` and `parts`. `by_parts` has as many entries as
    /// those.
    ///
    /// # Errors
    /// Those of [`running`](Self::running).
    fn gradient(
        &self,
        densities: &GateDensities,
        by_ratio: f64,
        by_parts: &[f64],
    ) -> Result<Vec<Vec<f64>>>;

    /// The fraction of every part that runs where all run the same one and the ratio is `target`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with what can be met, if no gates have that ratio.
    fn part_fraction(&self, target: f64) -> Result<f64>;
}

/// A [`GateCost`] at the gates of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningCost {
    /// Everything that runs, what decides the gates included, over the network without gates.
    pub ratio: f64,
    /// The fraction of each part that runs, 0 to 1.
    pub parts: Vec<f64>,
}
