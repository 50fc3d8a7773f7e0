//! The gater: a CNN that sees the input before the backbone does and decides every gate of it.

use gaternet_core::nn::{Linear, Module, State, scoped};
use gaternet_core::{Ctx, Result, Tensor, ops};
use rand_chacha::ChaCha8Rng;

use crate::backbone::resnet::Body;
use crate::config::GatedResNetConfig;
use crate::cost::linear_macs;
use crate::plan::steps::Steps;

/// `g' = FC2(ReLU(FC1(E(x))))`, with E a ResNet without its output layer and b units between FC1 and
/// FC2; without batch norm between them, as in the authors' code (the paper has one).
#[derive(Debug, Clone)]
pub struct Gater {
    extractor: Body,
    /// FC1: features to bottleneck; named after the output layer of E that it replaces.
    bottleneck: Linear,
    /// FC2: bottleneck to gates.
    gates: Linear,
}

impl Gater {
    pub(crate) fn new(
        config: &GatedResNetConfig,
        gates: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Gater> {
        let extractor = Body::new(&config.extractor(), rng)?;
        let bottleneck = Linear::new(extractor.features(), config.bottleneck, rng)?;
        let gates = Linear::new(config.bottleneck, gates, rng)?;
        gates.bias().update(|bias| bias.fill(config.gate_bias));
        Ok(Gater { extractor, bottleneck, gates })
    }

    /// Gate pre-activations g' (N, c) of `images` (N, 3, H, W).
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let features = self.extractor.forward(images, None, ctx)?;
        let bottleneck = ops::relu(&self.bottleneck.forward(&features, ctx)?)?;
        self.gates.forward(&bottleneck, ctx)
    }

    /// The steps of [`forward`](Self::forward) in evaluation on images of `size` (H, W).
    pub(crate) fn steps(&self, [h, w]: [usize; 2]) -> Result<Steps<'_>> {
        let (mut steps, images) = Steps::new([Body::CHANNELS, h, w]);
        let features = self.extractor.trace(&mut steps, images)?;
        let bottleneck = steps.linear(&self.bottleneck, features, true)?;
        steps.linear(&self.gates, bottleneck, false)?;
        Ok(steps)
    }

    /// MACs for one image of `size` (H, W).
    #[must_use]
    pub fn macs(&self, size: [usize; 2]) -> u64 {
        let linear = linear_macs(&self.bottleneck) + linear_macs(&self.gates);
        self.extractor.macs(size) + linear
    }
}

impl Module for Gater {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        let resnet = scoped(prefix, "resnet");
        self.extractor.collect(&resnet, out);
        self.bottleneck.collect(&scoped(&resnet, "newfc"), out);
        self.gates.collect(&scoped(prefix, "fnn.fc.0"), out);
    }
}
