//! Plain networks: what gated ones are made of and compared with.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Result, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::backbone::{self, IMAGE_CHANNELS};
use crate::config::{BackboneConfig, Family};
use crate::conv_spec::ConvSpec;
use crate::cost::Cost;
use crate::model;
use crate::network::{Network, NetworkBuilder};

/// A plain classifier of any [`Family`](crate::Family).
#[derive(Debug, Clone)]
pub struct PlainNet {
    config: BackboneConfig,
    network: Network,
}

impl PlainNet {
    /// With fresh weights drawn from `seed`: convolutions Kaiming normal (fan-out), batch norm 1 and 0,
    /// linear bias 0.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Config`] if a field of the configuration is out of range.
    pub fn new(config: BackboneConfig, seed: u64) -> Result<PlainNet> {
        Ok(PlainNet::from_rng(config, ChaCha8Rng::seed_from_u64(seed))?.0)
    }

    /// A classifier that a program has written itself; its output are the logits.
    #[must_use]
    pub fn custom(network: Network) -> PlainNet {
        let config = BackboneConfig::new(Family::Custom, network.features());
        PlainNet { config, network }
    }

    /// Also returns the randomness where the weights ended.
    pub(crate) fn from_rng(
        config: BackboneConfig,
        rng: ChaCha8Rng,
    ) -> Result<(PlainNet, ChaCha8Rng)> {
        config.validate()?;
        let (mut net, images) = NetworkBuilder::from_rng(IMAGE_CHANNELS, rng);
        let features = backbone::features(&mut net, images, "", &config)?;
        net.linear(backbone::output_name(&config.family), features, config.classes)?;
        let (network, rng) = net.finish_with_rng();
        Ok((PlainNet { config, network }, rng))
    }

    /// Logits (N, classes) of `images` (N, 3, H, W).
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.network.forward(images, ctx)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Its steps.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Every convolution for images of `size` (H, W), in the order they run.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn convs(&self, size: [usize; 2]) -> Result<Vec<ConvSpec>> {
        self.network.convs(size)
    }

    /// MACs for one image of `size` (H, W).
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn macs(&self, size: [usize; 2]) -> Result<u64> {
        self.network.macs(size)
    }

    /// MACs for one image of `size` (H, W) as a [`Cost`]: everything runs, and there is no gater.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn cost(&self, size: [usize; 2]) -> Result<Cost> {
        let macs = self.macs(size)? as f64;
        Ok(Cost { backbone: macs, executed: macs, gater: 0.0 })
    }

    /// Writes weights, configuration and `metadata` (safetensors, atomically).
    ///
    /// # Errors
    /// [`gaternet_core::Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, metadata: &BTreeMap<String, String>) -> Result<()> {
        model::save(path.as_ref(), "plain", &self.config, &self.state(), metadata)
    }

    /// The model stored by [`save`](Self::save).
    ///
    /// # Errors
    /// If the file is not such a checkpoint; see [`crate::Model::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<PlainNet> {
        model::load(path.as_ref(), "plain", |config| PlainNet::new(config, 0))
    }
}

impl PlainNet {
    /// Takes the weights of a file written by [`save`](Self::save), whose model must have the same tensors.
    ///
    /// # Errors
    /// If the file cannot be read or holds other tensors (missing, unexpected and misshapen ones listed
    /// together) or a NaN; the weights are unchanged then.
    pub fn load_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        model::load_weights(path.as_ref(), self)
    }
}

impl Module for PlainNet {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.network.collect(prefix, out);
    }
}
