//! The gater: a CNN that sees the images before the backbone does and decides every gate.

use std::path::Path;
use std::sync::Arc;

use gaternet_core::checkpoint::{Checkpoint, Outline};
use gaternet_core::nn::{Module, State};
use gaternet_core::ops::Pool2dOptions;
use gaternet_core::{Ctx, Error, Parameter, Result, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::files::weights::GATED;
use crate::gating::gated_config::GaterConfig;
use crate::network::{Network, NetworkBuilder, Weights};
use crate::networks::families;
use crate::networks::plain_net::PlainNet;
use crate::program::Programs;

/// State-dict prefix of E and of FC1, which stands where E had its output layer.
const EXTRACTOR: &str = "resnet.";
const FC1: &str = "resnet.newfc";
/// State-dict name of FC2, the layer from the bottleneck to the gates.
const FC2: &str = "fnn.fc.0";

/// Whether a state-dict name of a gater is in E.
pub(crate) fn is_extractor(name: &str) -> bool {
    name.starts_with(EXTRACTOR) && !name.starts_with(FC1)
}

/// `g' = FC2(ReLU(FC1(E(x))))`, with E a ResNet without its output layer and a bottleneck of b
/// features between FC1 and FC2. The paper's text has a batch norm before the ReLU, the authors'
/// code none: [`GaterConfig::batch_norm`].
#[derive(Debug, Clone)]
pub struct Gater {
    network: Network,
    programs: Arc<Programs>,
    /// Number of steps of E.
    extractor: usize,
    /// Bias of FC2.
    gate_bias: Parameter,
    /// Whether batch norm is between FC1 and FC2.
    batch_norm: bool,
}

impl Gater {
    /// A gater for images of `channels` channels.
    pub(crate) fn new(
        config: &GaterConfig,
        channels: usize,
        gates: usize,
        weights: Weights,
    ) -> Result<Gater> {
        let drawn = weights.are_drawn();
        let (mut net, mut images) = NetworkBuilder::with_weights(channels, weights);
        if config.pool > 1 {
            images = net.avg_pool(images, Pool2dOptions::square(config.pool, config.pool, 0));
        }
        let features = families::features(&mut net, images, "resnet", &config.extractor())?;
        let extractor = features.number;
        let bottleneck = net.linear(FC1, features, config.bottleneck)?;
        let bottleneck = match config.batch_norm {
            true => net.batch_norm_relu("fnn.bn", bottleneck)?,
            false => net.relu(bottleneck),
        };
        net.linear(FC2, bottleneck, gates)?;
        let network = net.finish()?;
        let bias = network.parameters().into_iter().next_back();
        let (_, gate_bias) = bias.expect("a gater ends with a linear layer");
        if drawn {
            gate_bias.update(|bias| bias.fill(config.gate_bias));
        }
        let programs = Arc::new(Programs::new(&network, None));
        Ok(Gater { network, programs, extractor, gate_bias, batch_norm: config.batch_norm })
    }

    /// Gate logits g' (N, outputs) of `images` (N, C, H, W).
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes; in training also if it
    /// is a single one and there is a batch norm between FC1 and FC2 ([`GaterConfig::batch_norm`]),
    /// as in PyTorch.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        if self.batch_norm && ctx.training() && images.dims().first() == Some(&1) {
            return Err(Error::Shape {
                op: "gater",
                rule: "batch norm over the bottleneck has statistics of 2 images or more in \
                       training: take larger batches, leave out a last batch of 1 image, or build \
                       the gater without batch_norm",
                got: images.shape().to_string(),
            });
        }
        self.programs.run(images, None, ctx)
    }

    /// A classifier of `classes` classes on the extractor E, for the paper's pretraining: train it,
    /// drop it, train the gated network. It *shares* weights and statistics with the gater; only
    /// its output layer `resnet.fc`, drawn from `seed`, is its own.
    ///
    /// ```
    /// # use gaternet_core::nn::{CrossEntropyLoss, Module};
    /// # use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
    /// # use gaternet_core::{Ctx, Tensor};
    /// # use gaternet_models::{GatedConfig, GatedNet};
    /// # let images = Tensor::randn([2, 3, 16, 16], 1.0, Ctx::train(1).rng())?;
    /// # let labels = vec![3, 7];
    /// let model = GatedNet::new(GatedConfig::cifar(8, 10), 0)?;
    /// let classifier = model.gater().classifier(10, 0)?;
    /// let mut sgd = Sgd::new(classifier.parameters(), SgdConfig::default())?;
    /// let logits = classifier.forward(&images, &mut Ctx::train(1))?;
    /// sgd.step(&CrossEntropyLoss::default().forward(&logits, &labels)?.backward()?)?;
    /// // The gater of `model` has moved.
    /// # Ok::<(), gaternet_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] if there is no class.
    pub fn classifier(&self, classes: usize, seed: u64) -> Result<PlainNet> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Stream 0 has drawn the weights of the model, if the seed is the same.
        rng.set_stream(u64::MAX);
        let weights = Weights::Drawn(Box::new(rng));
        let (mut net, features) = NetworkBuilder::extend(&self.network, self.extractor, weights)?;
        net.linear("resnet.fc", features, classes)?;
        Ok(PlainNet::custom(net.finish()?))
    }

    /// Loads what was trained before. From the file of a [`GatedNet`](crate::GatedNet): its whole
    /// gater. From the file of a [`classifier`](Self::classifier), of a [`PlainNet`] of E's
    /// architecture, or of another program with one of these two ways to name the tensors: E,
    /// without its output layer.
    ///
    /// # Errors
    /// An error if the file cannot be read or holds other tensors (missing, unexpected and
    /// misshapen ones listed together) or a NaN; the gater is unchanged then.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<()> {
        let file = Checkpoint::open(path)?;
        let outline = file.outline();
        if outline.metadata.get("model").is_some_and(|model| model == GATED) {
            let (state, gater) = (self.state(), outline.part("gater."));
            self.check_gates(&gater)?;
            gater.check(&state)?;
            return file.read()?.part("gater.").load_into(&state);
        }
        let scoped = outline.tensors.keys().any(|name| name.starts_with(EXTRACTOR));
        let prefix = if scoped { EXTRACTOR } else { "" };
        let mut state = self.state();
        state.retain(|(name, _)| is_extractor(name));
        state.iter_mut().for_each(|(name, _)| *name = name.split_off(EXTRACTOR.len()));
        extractor(outline, prefix).check(&state)?;
        extractor(&file.read()?, prefix).load_into(&state)
    }

    /// The bias (outputs) of the last layer, which is added to each gate logit. Taking t from all
    /// of it opens the gates whose logit was above t.
    #[must_use]
    pub fn gate_bias(&self) -> &Parameter {
        &self.gate_bias
    }

    /// Checks that the file of a gater has as many gates.
    pub(crate) fn check_gates(&self, file: &Outline) -> Result<()> {
        let gates = self.network.features();
        let weight = file.tensors.get(&format!("{FC2}.weight"));
        match weight.and_then(|weight| weight.shape.dims().first()) {
            Some(&of_file) if of_file != gates => Err(Error::Data {
                path: file.path.clone(),
                rule: "the file must have the gates of the model: build it with the placement, \
                       the shared gates and the backbone that the file's metadata `config` names",
                got: format!("{of_file} gates for a model of {gates}"),
            }),
            _ => Ok(()),
        }
    }

    /// The steps of the network.
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

/// The tensors of a file whose names start with `prefix`, without the prefix and without output
/// layers.
fn extractor<T: Clone>(file: &Checkpoint<T>, prefix: &str) -> Checkpoint<T> {
    let mut part = file.part(prefix);
    part.tensors.retain(|name, _| !name.starts_with("fc.") && !name.starts_with("newfc."));
    part
}

impl Module for Gater {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.network.collect(prefix, out);
    }
}
