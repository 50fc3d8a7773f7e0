//! A network that runs only the filters that its gater opens.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::gate::{
    Estimator, GateDraw, GateLoss, GateLossInput, GateTerm, Gates, MacCosts,
};
use gaternet_core::nn::{CrossEntropyLoss, Module, State, Targets, scoped};
use gaternet_core::{Ctx, Error, Result, Tensor, ops};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::cost::{self, Cost};
use crate::gate_plan::{GatePlacement, GatePlan};
use crate::gated_config::{GatedConfig, GaterConfig};
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
    /// The gates (N, c) that an evaluation pass makes of these pre-activations, in no graph.
    pub evaluated: Tensor,
    /// Of the images: (H, W).
    pub size: [usize; 2],
    /// Share of the training that was done, 0 to 1.
    pub progress: f64,
}

/// The training loss and its parts, each a scalar.
#[derive(Debug, Clone)]
pub struct Loss {
    /// `cross_entropy + gates`.
    pub total: Tensor,
    /// Mean over the batch of -log P(label | image).
    pub cross_entropy: Tensor,
    /// The sum of the configured gate losses, each times its weight.
    pub gates: Tensor,
}

impl GatedNet {
    /// With fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] if a field of the configuration is out of range.
    pub fn new(config: GatedConfig, seed: u64) -> Result<GatedNet> {
        config.validate()?;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (backbone, rng) = PlainNet::from_rng(config.backbone, None, rng)?;
        GatedNet::with_gater(backbone, config, rng)
    }

    /// Gates a network that a program has written itself: convolutions whose
    /// [`ConvRole`](crate::ConvRole) the placement gates. The gater's weights are drawn from `seed`; estimator and
    /// losses of the gates are the paper's until [`with_estimator`](Self::with_estimator) and
    /// [`with_gate_losses`](Self::with_gate_losses).
    ///
    /// # Errors
    /// [`Error::Config`] if a field of the gater is out of range, or the placement gates no
    /// filter.
    pub fn gate(
        network: Network,
        placement: GatePlacement,
        gater: GaterConfig,
        seed: u64,
    ) -> Result<GatedNet> {
        gater.validate()?;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let backbone = PlainNet::custom(network);
        let config = GatedConfig { placement, gater, ..GatedConfig::new(*backbone.config()) };
        GatedNet::with_gater(backbone, config, rng)
    }

    fn with_gater(backbone: PlainNet, config: GatedConfig, rng: ChaCha8Rng) -> Result<GatedNet> {
        let plan = GatePlan::new(&backbone.network().sizeless_convs(), config.placement);
        if plan.gates() == 0 {
            let rule = "must gate a convolution: the roles say which can be";
            let value = format!("{:?}", config.placement);
            return Err(Error::Config { field: "placement", value, rule });
        }
        let gater = Gater::new(&config.gater, plan.gates(), rng)?;
        Ok(GatedNet { config, backbone, gater, plan })
    }

    /// The same model, with this way from the gater's output to the gates.
    ///
    /// # Errors
    /// [`Error::Config`] if a parameter is out of range.
    pub fn with_estimator(mut self, estimator: Estimator) -> Result<GatedNet> {
        estimator.validate()?;
        self.config.estimator = estimator;
        Ok(self)
    }

    /// The same model, with these losses for its gates.
    ///
    /// # Errors
    /// [`Error::Config`] if a weight or a parameter is out of range.
    pub fn with_gate_losses(mut self, losses: Vec<GateTerm>) -> Result<GatedNet> {
        losses.iter().try_for_each(GateTerm::validate)?;
        self.config.gate_losses = losses;
        Ok(self)
    }

    /// Gater, gates, backbone. `images` (N, 3, H, W).
    ///
    /// A training pass takes noise and progress from `ctx`, makes gates as the estimator does and computes
    /// every filter (batch statistics and straight-through gradients need them). An evaluation pass
    /// has gates of 0 and 1 without noise and leaves out the filters they close; with gradients it computes
    /// and discards them.
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<GatedOutput> {
        let preact = self.gater.forward(images, ctx)?;
        let draw = match ctx.training() {
            true => Some(self.draw(preact.dims()[0], ctx)?),
            false => None,
        };
        self.finish(images, preact, draw.as_ref(), ctx)
    }

    /// The noise of a training pass for `batch` images.
    ///
    /// # Errors
    /// [`Error::Shape`] if it would not fit in the address space.
    pub fn draw(&self, batch: usize, ctx: &mut Ctx) -> Result<GateDraw> {
        self.config.estimator.draw(batch, self.plan.gates(), ctx.rng())
    }

    /// A pass with the estimator's randomness given, as in training; `ctx` decides the rest.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if the draw is not for these images or this estimator.
    pub fn forward_with_draw(
        &self,
        images: &Tensor,
        draw: &GateDraw,
        ctx: &mut Ctx,
    ) -> Result<GatedOutput> {
        let preact = self.gater.forward(images, ctx)?;
        self.finish(images, preact, Some(draw), ctx)
    }

    fn finish(
        &self,
        images: &Tensor,
        preact: Tensor,
        draw: Option<&GateDraw>,
        ctx: &mut Ctx,
    ) -> Result<GatedOutput> {
        let (widths, estimator) = (self.plan.widths(), self.config.estimator);
        let evaluated = estimator.eval(&preact, &widths)?;
        let values = match draw {
            Some(draw) => estimator.apply(&preact, &widths, draw, ctx.progress())?,
            None => evaluated.clone(),
        };
        let gates = Gates::new(values, &widths)?;
        let skip = !ctx.training() && !ctx.tracks();
        let gating = Gating { plan: &self.plan, gates: &gates, skip };
        let logits = self.backbone.network().run(images, Some(gating), ctx)?;
        let [_, _, h, w] = *images.dims() else { unreachable!("the network has run on them") };
        Ok(GatedOutput { logits, preact, gates, evaluated, size: [h, w], progress: ctx.progress() })
    }

    /// Cross-entropy of one label for each image, and the configured losses of the gates: by default the
    /// paper's `-log P(y | x) + lambda · ‖G(x)‖₁ / c`, the mean over the batch.
    ///
    /// # Errors
    /// If there are not N labels, one is not a class, or the gates cannot meet a configured target.
    pub fn loss(&self, output: &GatedOutput, labels: &[usize]) -> Result<Loss> {
        self.loss_with(output, &CrossEntropyLoss::default(), labels)
    }

    /// [`loss`](Self::loss) with another criterion, for labels or distributions.
    ///
    /// # Errors
    /// Those of [`loss`](Self::loss) and of [`CrossEntropyLoss::forward`].
    pub fn loss_with<'a>(
        &self,
        output: &GatedOutput,
        criterion: &CrossEntropyLoss,
        targets: impl Into<Targets<'a>>,
    ) -> Result<Loss> {
        let cross_entropy = criterion.forward(&output.logits, targets)?;
        self.plan.check(&output.gates)?;
        let input = GateLossInput {
            gates: &output.gates,
            preact: &output.preact,
            evaluated: &output.evaluated,
            costs: &self.mac_costs(output.size)?,
            progress: output.progress,
        };
        let mut gates: Option<Tensor> = None;
        for term in &self.config.gate_losses {
            let weight = term.weight_at(output.progress);
            if weight > 0.0 {
                let loss = ops::scale(&term.loss.loss(&input)?, weight)?;
                gates = Some(gates.map_or(Ok(loss.clone()), |sum| ops::add(&sum, &loss))?);
            }
        }
        let (total, gates) = match gates {
            Some(gates) => (ops::add(&cross_entropy, &gates)?, gates),
            None => (cross_entropy.clone(), Tensor::new(vec![0.0], [])?),
        };
        Ok(Loss { total, cross_entropy, gates })
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
            return Err(Error::Config {
                field: "skip",
                value: skip.to_string(),
                rule: "a training pass computes every filter: batch statistics need them",
            });
        }
        self.plan.check(gates)?;
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
    /// If images of this size do not fit, or the gates are not of this model.
    pub fn cost(&self, size: [usize; 2], gates: &Gates) -> Result<Cost> {
        let executed = self.executed(size, gates)?;
        let executed = executed.iter().sum::<f64>() / executed.len() as f64;
        let backbone = self.backbone.macs(size)? as f64;
        Ok(Cost { backbone, executed, gater: self.gater.macs(size)? as f64 })
    }

    /// MACs that run for each image of `size` (H, W) with these gates, gater included, (N).
    ///
    /// # Errors
    /// If images of this size do not fit, or the gates are not of this model.
    pub fn image_macs(&self, size: [usize; 2], gates: &Gates) -> Result<Vec<f64>> {
        let gater = self.gater.macs(size)? as f64;
        Ok(self.executed(size, gates)?.into_iter().map(|backbone| backbone + gater).collect())
    }

    /// MACs of the backbone for each image, (N).
    fn executed(&self, size: [usize; 2], gates: &Gates) -> Result<Vec<f64>> {
        self.plan.check(gates)?;
        let convs = self.backbone.convs(size)?;
        let dense: u64 = convs.iter().map(|conv| conv.macs()).sum();
        let other = self.backbone.macs(size)? as f64 - dense as f64;
        let executed = cost::executed(&convs, &self.plan, gates);
        Ok(executed.into_iter().map(|convs| convs + other).collect())
    }

    /// What the gates switch for one image of `size` (H, W), for a loss that counts it.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn mac_costs(&self, size: [usize; 2]) -> Result<MacCosts> {
        let convs = self.backbone.convs(size)?;
        let (macs, gater) = (self.backbone.macs(size)?, self.gater.macs(size)?);
        Ok(cost::of_gates(&convs, &self.plan, macs as f64, gater as f64))
    }

    /// `Err` unless the gates can meet the targets of the configured losses for images of `size` (H, W).
    ///
    /// # Errors
    /// [`Error::Config`] with the range of what they can meet; also if images of this size do not fit.
    pub fn check_targets(&self, size: [usize; 2]) -> Result<()> {
        let costs = self.mac_costs(size)?;
        self.config.gate_losses.iter().try_for_each(|term| match term.loss {
            GateLoss::TargetMacs { target } => costs.check_target(target.into()),
            GateLoss::L1 | GateLoss::TargetRate { .. } | GateLoss::BatchShaping { .. } => Ok(()),
        })
    }

    /// Takes the weights of a file written by [`save`](Self::save), whose model must have the same tensors.
    ///
    /// # Errors
    /// If the file cannot be read, is of another number of gates, or holds other tensors (missing, unexpected
    /// and misshapen ones listed together) or a NaN; the weights are unchanged then.
    pub fn load_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let checkpoint = Checkpoint::load(path)?;
        self.gater.check_gates(&checkpoint.part("gater."))?;
        checkpoint.load_into(&self.state())
    }

    /// Writes weights, configuration and `metadata` (safetensors, atomically).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
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
