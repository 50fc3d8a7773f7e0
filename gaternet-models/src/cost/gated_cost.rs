//! Costs of a gated network, and whether its gates can meet the targets of its losses.

use std::sync::{Arc, PoisonError};

use gaternet_core::gate::{Gates, MinActive};
use gaternet_core::{Error, Result, Tensor};

use crate::cost::{self, Cost, LatencyCosts, MacCosts};
use crate::gating::gate_loss::GateLoss;
use crate::gating::gated_net::GatedNet;

impl GatedNet {
    /// Gives the model its measured time, which [`measure_latency`](Self::measure_latency) finds.
    /// No file of the model has it, since it belongs to a machine.
    ///
    /// # Errors
    /// [`Error::Shape`] if it is of another number of gated layers, [`Error::Config`] if it is not
    /// whole.
    pub fn with_latency(mut self, latency: LatencyCosts) -> Result<GatedNet> {
        latency.ratio(&vec![1.0; self.plan().layers().len()])?;
        self.latency = Some(Arc::new(latency));
        Ok(self)
    }

    /// The measured time that [`with_latency`](Self::with_latency) was given.
    #[must_use]
    pub fn latency(&self) -> Option<&LatencyCosts> {
        self.latency.as_deref()
    }

    /// MACs for one image of `size` (H, W) with these gates, the mean over their batch.
    ///
    /// # Errors
    /// An error if images of this size do not fit, or the gates are not of this model.
    pub fn cost(&self, size: [usize; 2], gates: &Gates) -> Result<Cost> {
        let executed = self.executed(size, gates)?;
        let executed = executed.iter().sum::<f64>() / executed.len() as f64;
        let backbone = self.backbone().macs(size)? as f64;
        Ok(Cost { backbone, executed, gater: self.gater().macs(size)? as f64 })
    }

    /// MACs that run for each image of `size` (H, W) with these gates, gater included, (N).
    ///
    /// # Errors
    /// An error if images of this size do not fit, or the gates are not of this model.
    pub fn image_macs(&self, size: [usize; 2], gates: &Gates) -> Result<Vec<f64>> {
        let gater = self.gater().macs(size)? as f64;
        Ok(self.executed(size, gates)?.into_iter().map(|backbone| backbone + gater).collect())
    }

    /// MACs of the backbone for each image, (N).
    fn executed(&self, size: [usize; 2], gates: &Gates) -> Result<Vec<f64>> {
        self.plan().check(gates)?;
        let convs = self.backbone().convs(size)?;
        let dense: u64 = convs.iter().map(|conv| conv.macs()).sum();
        let other = self.backbone().macs(size)? as f64 - dense as f64;
        let executed = cost::executed(&convs, self.plan(), gates);
        Ok(executed.into_iter().map(|convs| convs + other).collect())
    }

    /// The MACs that gates switch for one image of `size` (H, W), for a loss that counts them. They
    /// are kept until another size is asked for, since every step of a training has the same.
    ///
    /// # Errors
    /// An error if images of this size do not fit.
    pub fn mac_costs(&self, size: [usize; 2]) -> Result<Arc<MacCosts>> {
        // The lock is held until the costs are there, so that what is kept does not depend on
        // timing.
        let mut kept = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, costs)) = &*kept
            && *of == size
        {
            return Ok(costs.clone());
        }
        let convs = self.backbone().convs(size)?;
        let (macs, gater) = (self.backbone().macs(size)?, self.gater().macs(size)?);
        let costs = Arc::new(cost::of_gates(&convs, self.plan(), macs as f64, gater as f64));
        *kept = Some((size, costs.clone()));
        Ok(costs)
    }

    /// Checks that the gates can meet the targets of the configured losses for images of `size` (H,
    /// W); a target of latency is checked once the latency is known.
    ///
    /// # Errors
    /// [`Error::Config`] with the range that they can meet; an error too if images of this size do
    /// not fit.
    pub fn check_targets(&self, size: [usize; 2]) -> Result<()> {
        let costs = self.mac_costs(size)?;
        // Only what min-active keeps open is open.
        let least = self.evaluation_gates(&Tensor::full([1, self.plan().outputs()], f32::MIN)?)?;
        let widths = self.plan().widths();
        self.config().gate_losses.iter().try_for_each(|term| match term.loss {
            GateLoss::TargetMacs { target } => {
                costs.check_target(target.into())?;
                let least = costs.ratio(least.values(), &widths)?;
                above_min_active("target_macs", target, least, self.config().min_active)
            }
            GateLoss::TargetLatency { target } => {
                let Some(latency) = &self.latency else { return Ok(()) };
                latency.check_target(target.into())?;
                let layers = 0..least.layers();
                let density = |layer| {
                    least
                        .active(layer)
                        .map_or(1.0, |list| list.row(0).len() as f64 / list.filters() as f64)
                };
                let least = latency.ratio(&layers.map(density).collect::<Vec<_>>())?;
                above_min_active("target_latency", target, least, self.config().min_active)
            }
            GateLoss::TargetRate { target } => {
                above_min_active("target_rate", target, least.density(), self.config().min_active)
            }
            GateLoss::L1 | GateLoss::BatchShaping { .. } => Ok(()),
        })
    }
}

/// Checks that a target is not below what the gates that stay open cost.
fn above_min_active(
    field: &'static str,
    target: f32,
    least: f64,
    min_active: MinActive,
) -> Result<()> {
    if min_active.is_none() || f64::from(target) >= least {
        return Ok(());
    }
    let value = format!("{target} (with only min-active {min_active:?} open, {least:.3})");
    Err(Error::Config { field, value, rule: "must be at least what the gates that stay open cost" })
}
