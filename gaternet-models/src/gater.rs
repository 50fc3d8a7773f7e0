//! The gater: a CNN that sees the input before the backbone does and decides every gate of it.

use gaternet_core::nn::{Module, State};
use gaternet_core::ops::Pool2dOptions;
use gaternet_core::{Ctx, Result, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::backbone::{self, IMAGE_CHANNELS};
use crate::config::GaterConfig;
use crate::network::{Network, NetworkBuilder};

/// `g' = FC2(ReLU(FC1(E(x))))`, with E a ResNet without its output layer and b units between FC1 and
/// FC2; without batch norm between them, as in the authors' code (the paper has one).
#[derive(Debug, Clone)]
pub struct Gater {
    network: Network,
}

impl Gater {
    pub(crate) fn new(config: &GaterConfig, gates: usize, rng: ChaCha8Rng) -> Result<Gater> {
        let (mut net, mut images) = NetworkBuilder::from_rng(IMAGE_CHANNELS, rng);
        if config.pool > 1 {
            images = net.avg_pool(images, Pool2dOptions::square(config.pool, config.pool, 0));
        }
        let features = backbone::features(&mut net, images, "resnet", &config.extractor())?;
        // Named after the output layer of E that it replaces.
        let bottleneck = net.linear("resnet.newfc", features, config.bottleneck)?;
        let bottleneck = net.relu(bottleneck);
        net.linear("fnn.fc.0", bottleneck, gates)?;
        let network = net.finish();
        for (name, parameter) in network.parameters() {
            if name == "fnn.fc.0.bias" {
                parameter.update(|bias| bias.fill(config.gate_bias));
            }
        }
        Ok(Gater { network })
    }

    /// Gate pre-activations g' (N, c) of `images` (N, 3, H, W).
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.network.forward(images, ctx)
    }

    /// Its steps.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// MACs for one image of `size` (H, W).
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn macs(&self, size: [usize; 2]) -> Result<u64> {
        self.network.macs(size)
    }
}

impl Module for Gater {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.network.collect(prefix, out);
    }
}
