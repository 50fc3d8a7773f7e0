//! A trained network at another gate threshold.

use anyhow::Result;
use gaternet::core::Tensor;
use gaternet::core::data::{Augment, Dataset, Loader, LoaderConfig, SIDE};
use gaternet::models::{GatedNet, InferencePlan, PlainNet, PlanOptions};

/// A gated network, and what its gater says of some calibration images.
pub(crate) struct Thresholds<'a> {
    model: &'a GatedNet,
    /// (N, c).
    preact: Tensor,
    /// As trained, (c).
    gate_bias: Tensor,
}

impl<'a> Thresholds<'a> {
    pub(crate) fn new(
        model: &'a GatedNet,
        images: Dataset,
        batch_size: usize,
    ) -> Result<Thresholds<'a>> {
        let (count, gates) = (images.len(), model.plan().gates());
        let batch_size = batch_size.min(count);
        let config = LoaderConfig { batch_size, shuffle: false, seed: 0, augment: Augment::eval() };
        let loader = Loader::new(images.into(), config)?;
        // The gater alone, its outputs as they are.
        let gater = PlainNet::custom(model.gater().network().clone());
        let options = PlanOptions { size: [SIDE; 2], batch: batch_size, ..PlanOptions::default() };
        let mut gater = InferencePlan::plain(&gater, options)?;
        let mut preact = vec![0.0; count * gates];
        for (batch, preact) in loader.epoch(0).zip(preact.chunks_mut(batch_size * gates)) {
            gater.run(batch?.images.data(), preact)?;
        }
        let preact = Tensor::new(preact, [count, gates])?;
        Ok(Thresholds { model, preact, gate_bias: model.gater().gate_bias().tensor() })
    }

    pub(crate) fn model(&self) -> &GatedNet {
        self.model
    }

    /// The threshold at which the calibration images keep to a budget, over the MACs of the plain backbone.
    pub(crate) fn for_budget(&self, budget: f64) -> Result<f32> {
        Ok(self.model.threshold_for_budget([SIDE; 2], &self.preact, budget)?)
    }

    /// From here on the network opens the gates whose pre-activation was above `threshold` when it was trained.
    pub(crate) fn set(&self, threshold: f32) -> Result<()> {
        let bias = self.gate_bias.data().iter().map(|bias| bias - threshold).collect();
        let bias = Tensor::new(bias, self.gate_bias.shape())?;
        Ok(self.model.gater().gate_bias().set(&bias)?)
    }
}
