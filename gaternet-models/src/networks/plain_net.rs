//! Plain networks: the backbones of gated ones, and what those are compared with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gaternet_core::checkpoint::{Checkpoint, Outline};
use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Error, Result, Tensor};

use crate::cost::Cost;
use crate::files::checkpoint;
use crate::files::weights::{self, Head, PLAIN};
use crate::network::{ConvSpec, Network, NetworkBuilder, Weights};
use crate::networks::config::{BackboneConfig, Family};
use crate::networks::families;
use crate::program::Programs;

/// A plain classifier of any [`Family`](crate::Family).
#[derive(Debug, Clone)]
pub struct PlainNet {
    config: BackboneConfig,
    /// Filters of each inner convolution, if they are not the architecture's.
    inner_filters: Option<Vec<usize>>,
    network: Network,
    programs: Arc<Programs>,
}

/// Metadata key of a file whose inner convolutions have other numbers of filters than the
/// architecture's.
const INNER_FILTERS: &str = "inner_filters";

/// What version 0.1 called [`INNER_FILTERS`].
const OLD_INNER_FILTERS: &str = "hidden_filters";

impl PlainNet {
    /// A network with fresh weights drawn from `seed`: convolutions Kaiming normal (fan-out), batch
    /// norm 1 and 0, linear bias 0.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Config`] if a field of the configuration is out of range.
    pub fn new(config: BackboneConfig, seed: u64) -> Result<PlainNet> {
        Ok(PlainNet::with_weights(config, None, Weights::drawn(seed))?.0)
    }

    /// A network as [`new`](Self::new) makes it, with fewer filters in its inner convolutions
    /// ([`ConvRole::Inner`](crate::ConvRole::Inner)), listed in the order they run: the
    /// architecture of what [`GatedNet::pruned_subnetwork`](crate::GatedNet::pruned_subnetwork)
    /// returns.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new), and [`Error::Config`] if a number is 0 or more than the
    /// architecture has, or there is not one for each inner convolution.
    pub fn narrowed(
        config: BackboneConfig,
        inner_filters: &[usize],
        seed: u64,
    ) -> Result<PlainNet> {
        let filters = Some(inner_filters.to_vec());
        Ok(PlainNet::with_weights(config, filters, Weights::drawn(seed))?.0)
    }

    /// A classifier that a program has written itself; the output of the network are the logits.
    #[must_use]
    pub fn custom(network: Network) -> PlainNet {
        let in_channels = network.channels();
        let config = BackboneConfig::new(Family::Custom, network.features());
        let config = BackboneConfig { in_channels, ..config };
        PlainNet::made(config, None, network)
    }

    /// A network from its parts: `network` must be of this architecture, with these numbers of
    /// filters.
    pub(crate) fn from_parts(
        config: BackboneConfig,
        inner_filters: Vec<usize>,
        network: Network,
    ) -> PlainNet {
        PlainNet::made(config, Some(inner_filters), network)
    }

    fn made(
        config: BackboneConfig,
        inner_filters: Option<Vec<usize>>,
        network: Network,
    ) -> PlainNet {
        let programs = Arc::new(Programs::new(&network, None));
        PlainNet { config, inner_filters, network, programs }
    }

    /// A network without weights, which will be set.
    pub(crate) fn unset(config: BackboneConfig) -> Result<PlainNet> {
        Ok(PlainNet::with_weights(config, None, Weights::Unset)?.0)
    }

    /// A network with weights from this source, which is returned too, for layers that follow.
    pub(crate) fn with_weights(
        config: BackboneConfig,
        inner_filters: Option<Vec<usize>>,
        weights: Weights,
    ) -> Result<(PlainNet, Weights)> {
        config.validate()?;
        let (mut net, images) = NetworkBuilder::with_weights(config.in_channels, weights);
        if let Some(filters) = &inner_filters {
            net.narrow_inner(filters);
        }
        let features = families::features(&mut net, images, "", &config)?;
        net.linear(families::output_name(&config.family), features, config.classes)?;
        net.check_inner()?;
        let (network, weights) = net.finish_with_weights()?;
        Ok((PlainNet::made(config, inner_filters, network), weights))
    }

    /// Logits (N, classes) of `images` (N, C, H, W).
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.programs.run(images, None, ctx)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Filters of each inner convolution in the order they run, if they are not the architecture's.
    #[must_use]
    pub fn inner_filters(&self) -> Option<&[usize]> {
        self.inner_filters.as_deref()
    }

    /// The steps of the network.
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

    /// MACs for one image of `size` (H, W) as a [`Cost`] without a gater, of which everything runs.
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
        let mut metadata = metadata.clone();
        for key in [INNER_FILTERS, OLD_INNER_FILTERS] {
            metadata.remove(key);
        }
        if let Some(filters) = &self.inner_filters {
            metadata.insert(INNER_FILTERS.to_owned(), format!("{filters:?}"));
        }
        checkpoint::save(path.as_ref(), PLAIN, &self.config, &self.state(), &metadata)
    }

    /// The model stored by [`save`](Self::save).
    ///
    /// # Errors
    /// If the file is not such a checkpoint; see [`crate::Model::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<PlainNet> {
        checkpoint::load(path.as_ref(), PLAIN, PlainNet::like)
    }

    /// A network with the architecture that a file describes, and without weights.
    pub(crate) fn like(config: BackboneConfig, file: &Outline) -> Result<PlainNet> {
        let of = |key| file.metadata.get(key).map(|text| (key, text));
        let Some((key, text)) = of(INNER_FILTERS).or_else(|| of(OLD_INNER_FILTERS)) else {
            return PlainNet::unset(config);
        };
        let filters: Vec<usize> = serde_json::from_str(text).map_err(|error| Error::Field {
            path: file.path.clone(),
            field: format!("metadata {key}"),
            expected: "a list of numbers".to_owned(),
            got: format!("{text:?}: {error}"),
        })?;
        Ok(PlainNet::with_weights(config, Some(filters), Weights::Unset)?.0)
    }

    /// Loads the weights of a file written by [`save`](Self::save), whose model must have the same
    /// tensors.
    ///
    /// # Errors
    /// [`Error::OtherKind`] if the file is of a gated model: take
    /// [`GatedNet::load`](crate::GatedNet::load) and its [`backbone`](crate::GatedNet::backbone).
    /// An error too if the file cannot be read or holds other tensors (missing, unexpected and
    /// misshapen ones listed together) or a NaN. The weights are unchanged then.
    pub fn load_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        self.load_weights_with(path, Head::Same)
    }

    /// Loads weights as [`load_weights`](Self::load_weights) does, of all layers or of all but the
    /// head.
    ///
    /// # Errors
    /// The errors of [`load_weights`](Self::load_weights); with [`Head::Fresh`] also
    /// [`Error::Config`] if the network does not end in a linear layer.
    pub fn load_weights_with(&self, path: impl AsRef<Path>, head: Head) -> Result<()> {
        let file = Checkpoint::open(path)?;
        weights::of_kind(file.outline(), PLAIN)?;
        weights::load(file, self, head, self.network.head().map(str::to_owned))
    }
}

impl Module for PlainNet {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.network.collect(prefix, out);
    }
}
