//! A network that runs only the filters that its gater opens.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::gate::{Gates, SemHashDraw, hard, l1_loss, sem_hash};
use gaternet_core::nn::{CrossEntropyLoss, Module, State, Targets, scoped};
use gaternet_core::{Ctx, Result, Tensor, ops};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::config::{GatedConfig, GaterConfig};
use crate::cost::{self, Cost};
use crate::gate_plan::{GatePlacement, GatePlan};
use crate::gater::Gater;
use crate::model;
use crate::network::Network;
use crate::network::gating::Gating;
use crate::plain_net::PlainNet;

/// GaterNet (Chen et al., CVPR 2019) on a ResNet, as in the paper, or on another backbone.
pub type GatedResNet = GatedNet;

/// A backbone whose filters a [`Gater`] opens and closes, image by image.
#[derive(Debug, Clone)]
pub struct GatedNet {
    config: GatedConfig,
    backbone: PlainNet,
    gater: Gater,
    plan: GatePlan,
}

/// What a forward pass computes.
#[derive(Debug, Clone)]
pub struct GatedOutput {
    /// (N, classes).
    pub logits: Tensor,
    /// Gate pre-activations g' (N, c), before noise.
    pub preact: Tensor,
    /// The gates the backbone ran with.
    pub gates: Gates,
}

/// The training loss and its parts, each a scalar.
#[derive(Debug, Clone)]
pub struct Loss {
    /// `cross_entropy + lambda · gate_l1`.
    pub total: Tensor,
    /// Mean over the batch of -log P(label | image).
    pub cross_entropy: Tensor,
    /// Mean over the batch of `‖gates‖₁ / c`.
    pub gate_l1: Tensor,
}

impl GatedOutput {
    /// `-log P(y | x) + lambda · ‖G(x)‖₁ / c`, the mean over the batch: the paper's loss.
    ///
    /// # Errors
    /// If there are not N labels or one is not a class.
    pub fn loss(&self, labels: &[usize], lambda: f32) -> Result<Loss> {
        self.loss_with(&CrossEntropyLoss::default(), labels, lambda)
    }

    /// [`loss`](Self::loss) with another criterion, for labels or distributions.
    ///
    /// # Errors
    /// Those of [`CrossEntropyLoss::forward`].
    pub fn loss_with<'a>(
        &self,
        criterion: &CrossEntropyLoss,
        targets: impl Into<Targets<'a>>,
        lambda: f32,
    ) -> Result<Loss> {
        let cross_entropy = criterion.forward(&self.logits, targets)?;
        let gate_l1 = l1_loss(self.gates.values())?;
        let total = ops::add(&cross_entropy, &ops::scale(&gate_l1, lambda)?)?;
        Ok(Loss { total, cross_entropy, gate_l1 })
    }
}

impl GatedNet {
    /// With fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Config`] if a field of the configuration is out of range.
    pub fn new(config: GatedConfig, seed: u64) -> Result<GatedNet> {
        config.validate()?;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (backbone, rng) = PlainNet::from_rng(config.backbone, None, rng)?;
        GatedNet::with_gater(backbone, config.placement, config.gater, rng)
    }

    /// Gates a network that a program has written itself: convolutions whose
    /// [`ConvRole`](crate::ConvRole) the placement gates. The gater's weights are drawn from `seed`.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Config`] if a field of the gater is out of range, or the placement gates no
    /// filter.
    pub fn gate(
        network: Network,
        placement: GatePlacement,
        gater: GaterConfig,
        seed: u64,
    ) -> Result<GatedNet> {
        gater.validate()?;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        GatedNet::with_gater(PlainNet::custom(network), placement, gater, rng)
    }

    fn with_gater(
        backbone: PlainNet,
        placement: GatePlacement,
        gater: GaterConfig,
        rng: ChaCha8Rng,
    ) -> Result<GatedNet> {
        let plan = GatePlan::new(&backbone.network().sizeless_convs(), placement);
        if plan.gates() == 0 {
            let rule = "must gate a convolution: the roles say which can be";
            let value = format!("{placement:?}");
            return Err(gaternet_core::Error::Config { field: "placement", value, rule });
        }
        let config = GatedConfig { backbone: *backbone.config(), placement, gater };
        let gater = Gater::new(&gater, plan.gates(), rng)?;
        Ok(GatedNet { config, backbone, gater, plan })
    }

    /// Gater, gates, backbone. `images` (N, 3, H, W).
    ///
    /// A training pass draws its noise from `ctx`, mixes hard and soft gates by sample and computes
    /// every filter (batch statistics and straight-through gradients need them). An evaluation pass
    /// uses hard gates without noise and leaves out the filters they close; with gradients it computes
    /// and discards them.
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<GatedOutput> {
        let preact = self.gater.forward(images, ctx)?;
        let values = if ctx.training() {
            let draw = SemHashDraw::sample(preact.dims()[0], self.plan.gates(), ctx.rng())?;
            sem_hash(&preact, &draw)?
        } else {
            hard(&preact)?
        };
        self.finish(images, preact, values, ctx)
    }

    /// A pass with the noise and the choice of hard or soft gates given, as in training; `ctx` decides
    /// the rest.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if the draw is not for these images.
    pub fn forward_with_draw(
        &self,
        images: &Tensor,
        draw: &SemHashDraw,
        ctx: &mut Ctx,
    ) -> Result<GatedOutput> {
        let preact = self.gater.forward(images, ctx)?;
        let values = sem_hash(&preact, draw)?;
        self.finish(images, preact, values, ctx)
    }

    fn finish(
        &self,
        images: &Tensor,
        preact: Tensor,
        values: Tensor,
        ctx: &mut Ctx,
    ) -> Result<GatedOutput> {
        let gates = Gates::new(values, &self.plan.widths())?;
        let skip = !ctx.training() && !ctx.tracks();
        let gating = Gating { plan: &self.plan, gates: &gates, skip };
        let logits = self.backbone.network().run(images, Some(gating), ctx)?;
        Ok(GatedOutput { logits, preact, gates })
    }

    /// Logits (N, classes) of the backbone with the given gates. Filters that are off are left out if
    /// `skip`, else computed and discarded; in evaluation the logits have the same bits.
    ///
    /// # Errors
    /// If images or gates do not fit the network, or `skip` is asked of a training pass.
    pub fn backbone_with_gates(
        &self,
        images: &Tensor,
        gates: &Gates,
        skip: bool,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        if skip && ctx.training() {
            return Err(gaternet_core::Error::Config {
                field: "skip",
                value: skip.to_string(),
                rule: "a training pass computes every filter: batch statistics need them",
            });
        }
        self.backbone.network().run(images, Some(Gating { plan: &self.plan, gates, skip }), ctx)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &GatedConfig {
        &self.config
    }

    /// Where the gates sit.
    #[must_use]
    pub fn plan(&self) -> &GatePlan {
        &self.plan
    }

    /// The gated network.
    #[must_use]
    pub fn backbone(&self) -> &PlainNet {
        &self.backbone
    }

    /// The gating network.
    #[must_use]
    pub fn gater(&self) -> &Gater {
        &self.gater
    }

    /// MACs for one image of `size` (H, W) with these gates, the mean over their batch.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn cost(&self, size: [usize; 2], gates: &Gates) -> Result<Cost> {
        let executed = self.executed(size, gates)?;
        let executed = executed.iter().sum::<f64>() / executed.len() as f64;
        let backbone = self.backbone.macs(size)? as f64;
        Ok(Cost { backbone, executed, gater: self.gater.macs(size)? as f64 })
    }

    /// MACs that run for each image of `size` (H, W) with these gates, gater included, (N).
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn image_macs(&self, size: [usize; 2], gates: &Gates) -> Result<Vec<f64>> {
        let gater = self.gater.macs(size)? as f64;
        Ok(self.executed(size, gates)?.into_iter().map(|backbone| backbone + gater).collect())
    }

    /// MACs of the backbone for each image, (N).
    fn executed(&self, size: [usize; 2], gates: &Gates) -> Result<Vec<f64>> {
        let convs = self.backbone.convs(size)?;
        let dense: u64 = convs.iter().map(|conv| conv.macs()).sum();
        let other = self.backbone.macs(size)? as f64 - dense as f64;
        let executed = cost::executed(&convs, &self.plan, gates);
        Ok(executed.into_iter().map(|convs| convs + other).collect())
    }

    /// Takes the weights of a file written by [`save`](Self::save), whose model must have the same tensors.
    ///
    /// # Errors
    /// If the file cannot be read or holds other tensors (missing, unexpected and misshapen ones listed
    /// together) or a NaN; the weights are unchanged then.
    pub fn load_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        model::load_weights(path.as_ref(), self)
    }

    /// Writes weights, configuration and `metadata` (safetensors, atomically).
    ///
    /// # Errors
    /// [`gaternet_core::Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, metadata: &BTreeMap<String, String>) -> Result<()> {
        model::save(path.as_ref(), "gated", &self.config, &self.state(), metadata)
    }

    /// The model stored by [`save`](Self::save).
    ///
    /// # Errors
    /// If the file is not such a checkpoint; see [`crate::Model::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<GatedNet> {
        model::load(path.as_ref(), "gated", |config, _| GatedNet::new(config, 0))
    }
}

impl Module for GatedNet {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.backbone.collect(&scoped(prefix, "backbone"), out);
        self.gater.collect(&scoped(prefix, "gater"), out);
    }
}
