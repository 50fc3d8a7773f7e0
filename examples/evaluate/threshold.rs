//! A trained network at another gate threshold.

use anyhow::Result;
use gaternet::cli::trained_data::for_first_images;
use gaternet::core::Tensor;
use gaternet::core::data::{Augment, Dataset, ImageSource};
use gaternet::models::{DType, GatedNet, InferencePlan, PlainNet, PlanOptions};

/// A gated network, and what its gater says of some calibration images.
pub(crate) struct Thresholds<'a> {
    model: &'a GatedNet,
    /// (H, W) of the images.
    size: [usize; 2],
    /// (N, outputs of the gater).
    gate_logits: Tensor,
    /// As trained, (outputs).
    gate_bias: Tensor,
}

impl<'a> Thresholds<'a> {
    /// By the first `count` of `images`.
    pub(crate) fn new(
        model: &'a GatedNet,
        images: &ImageSource,
        augment: &Augment,
        count: usize,
        (batch_size, dtype): (usize, DType),
    ) -> Result<Thresholds<'a>> {
        let (size, outputs) = (augment.output_size(images)?, model.plan().outputs());
        // The gater alone, its outputs as they are.
        let gater = PlainNet::custom(model.gater().network().clone());
        let options = PlanOptions { size, batch: batch_size, dtype, ..PlanOptions::default() };
        let gater = InferencePlan::plain(&gater, options)?;
        let mut gate_logits = Vec::new();
        let image_len = images.channels() * size[0] * size[1];
        for_first_images(images, augment, count, batch_size, |images| {
            let before = gate_logits.len();
            gate_logits.resize(before + images.len() / image_len * outputs, 0.0);
            Ok(gater.run(images, &mut gate_logits[before..])?)
        })?;
        let gate_logits = Tensor::new(gate_logits, [count, outputs])?;
        Ok(Thresholds { model, size, gate_logits, gate_bias: model.gater().gate_bias().tensor() })
    }

    pub(crate) fn model(&self) -> &GatedNet {
        self.model
    }

    /// The threshold at which the calibration images keep to a budget, over the MACs of the plain
    /// backbone.
    pub(crate) fn for_budget(&self, budget: f64) -> Result<f32> {
        Ok(self.model.threshold_for_budget(self.size, &self.gate_logits, budget)?)
    }

    /// From here on the network opens the gates whose gate logit was above `threshold` when it
    /// was trained.
    pub(crate) fn set(&self, threshold: f32) -> Result<()> {
        let bias = self.gate_bias.data().iter().map(|bias| bias - threshold).collect();
        let bias = Tensor::new(bias, self.gate_bias.shape())?;
        Ok(self.model.gater().gate_bias().set(&bias)?)
    }
}
