//! A gated network, which runs only the filters whose gates its gater opens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use gaternet_core::checkpoint::{Checkpoint, Outline};
use gaternet_core::gate::{Estimator, GateDraw, Gates};
use gaternet_core::nn::{CrossEntropyLoss, Module, State, Targets, scoped};
use gaternet_core::{Ctx, Error, Result, Tensor, ops};

use crate::cost::{LatencyCosts, MacCosts};
use crate::files::checkpoint;
use crate::files::weights::{self, GATED, Head};
use crate::gating::gate_loss::GateLossInput;
use crate::gating::gate_plan::{GatePlacement, GatePlan};
use crate::gating::gate_rule::GateRule;
use crate::gating::gate_term::GateTerm;
use crate::gating::gated_config::{GatedConfig, GaterConfig};
use crate::gating::gater::Gater;
use crate::network::{ConvRole, Network, Weights};
use crate::networks::plain_net::PlainNet;
use crate::program::{Gating, Mode, Program, Programs};

/// GaterNet (Chen et al., CVPR 2019) on a ResNet, as in the paper, or on another backbone.
pub type GatedResNet = GatedNet;

/// State-dict prefixes of the parts.
const BACKBONE: &str = "backbone";
const GATER: &str = "gater";

/// A backbone whose filters a [`Gater`] opens and closes, image by image.
#[derive(Debug, Clone)]
pub struct GatedNet {
    config: GatedConfig,
    backbone: PlainNet,
    gater: Gater,
    plan: GatePlan,
    /// The backbone with its gates, in both modes.
    programs: Arc<Programs>,
    /// Costs for the image size that was asked for last.
    pub(crate) costs: Arc<Mutex<Option<SizedCosts>>>,
    pub(crate) latency: Option<Arc<LatencyCosts>>,
}

/// Costs for images of a size (H, W).
pub(crate) type SizedCosts = ([usize; 2], Arc<MacCosts>);

/// The results of a forward pass.
#[derive(Debug, Clone)]
pub struct GatedOutput {
    /// Logits of the classes, (N, classes).
    pub logits: Tensor,
    /// The gate logits g' (N, outputs of the gater), before noise: one for each gate or shared
    /// gate.
    pub gate_logits: Tensor,
    /// The gates the backbone ran with.
    pub gates: Gates,
    /// The gates (N, c) that an evaluation pass makes of these gate logits, in no graph.
    pub evaluated: Tensor,
    /// Size (H, W) of the images.
    pub size: [usize; 2],
    /// Fraction of the training that was done, 0 to 1.
    pub progress: f64,
}

/// The training loss and its parts, each a scalar.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The sum `cross_entropy + gates`.
    pub total: Tensor,
    /// Mean over the batch of -log P(label | image).
    pub cross_entropy: Tensor,
    /// The sum of the configured gate losses, each times its weight.
    pub gates: Tensor,
}

impl GatedNet {
    /// A network with fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] that names the first field of the configuration out of range and its rule.
    pub fn new(config: GatedConfig, seed: u64) -> Result<GatedNet> {
        GatedNet::with_weights(config, Weights::drawn(seed))
    }

    fn with_weights(config: GatedConfig, weights: Weights) -> Result<GatedNet> {
        config.validate()?;
        let (backbone, weights) = PlainNet::with_weights(config.backbone, None, weights)?;
        GatedNet::with_gater(backbone, config, weights)
    }

    /// A network with the architecture that a file describes, and without weights.
    pub(crate) fn like(config: GatedConfig, _file: &Outline) -> Result<GatedNet> {
        GatedNet::with_weights(config, Weights::Unset)
    }

    /// Gates a network that a program has written itself: convolutions whose
    /// [`ConvRole`](crate::ConvRole) the placement gates. The gater's weights are drawn from
    /// `seed`; estimator and losses of the gates are the paper's until
    /// [`with_estimator`](Self::with_estimator) and [`with_gate_losses`](Self::with_gate_losses).
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
        let config = GatedConfig { placement, gater, ..GatedConfig::cifar(20, 1) };
        GatedNet::gate_as(network, config, seed)
    }

    /// Gates a network as [`gate`](Self::gate) does, with all settings, shared gates, min-active
    /// and overrides too. The backbone of the configuration is not looked at.
    ///
    /// # Errors
    /// [`Error::Config`] if another field is out of range, or no filter has a gate.
    pub fn gate_as(network: Network, config: GatedConfig, seed: u64) -> Result<GatedNet> {
        config.validate_gates()?;
        let backbone = PlainNet::custom(network);
        let config = GatedConfig { backbone: *backbone.config(), ..config };
        GatedNet::with_gater(backbone, config, Weights::drawn(seed))
    }

    fn with_gater(backbone: PlainNet, config: GatedConfig, weights: Weights) -> Result<GatedNet> {
        let convs = backbone.network().sizeless_convs();
        let plan = GatePlan::new(
            &convs,
            config.placement,
            &config.gate_overrides,
            config.filters_per_gate,
        )?;
        if plan.gates() == 0 {
            let rule =
                "must gate a convolution: ConvBuilder::role (or OpBuilder::role) says which can be";
            let value = match config.gate_overrides.len() {
                0 => format!("{:?}", config.placement),
                _ => format!("{:?} with {:?}", config.placement, config.gate_overrides),
            };
            return Err(Error::Config { field: "placement", value, rule });
        }
        if config.zero_init {
            zero_blocks(backbone.network(), &plan, weights.are_drawn())?;
        }
        let channels = backbone.network().channels();
        let gater = Gater::new(&config.gater, channels, plan.outputs(), weights)?;
        let programs = Arc::new(Programs::new(backbone.network(), Some(&plan)));
        let (costs, latency) = (Arc::default(), None);
        Ok(GatedNet { config, backbone, gater, plan, programs, costs, latency })
    }

    /// Replaces the estimator, which makes gates of the gate logits.
    ///
    /// # Errors
    /// [`Error::Config`] if a parameter is out of range, or a loss has a target that it does not
    /// move towards.
    pub fn with_estimator(mut self, estimator: Estimator) -> Result<GatedNet> {
        self.config.estimator = estimator;
        self.config.validate_gates()?;
        Ok(self)
    }

    /// Replaces the losses of the gates.
    ///
    /// # Errors
    /// [`Error::Config`] if a weight or a parameter is out of range, or the estimator opens a fixed
    /// number of gates and a loss has a target.
    pub fn with_gate_losses(mut self, losses: Vec<GateTerm>) -> Result<GatedNet> {
        self.config.gate_losses = losses;
        self.config.validate_gates()?;
        Ok(self)
    }

    /// Runs gater, gates and backbone on `images` (N, C, H, W).
    ///
    /// A training pass takes noise and progress from `ctx`, makes gates as the estimator does and
    /// computes every filter (batch statistics and straight-through gradients need them). An
    /// evaluation pass has gates of 0 and 1 without noise and leaves out inactive filters; with
    /// gradients it computes and discards them.
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<GatedOutput> {
        let gate_logits = self.gater.forward(images, ctx)?;
        let draw = match ctx.training() {
            true => Some(self.draw(gate_logits.dims()[0], ctx)?),
            false => None,
        };
        self.finish(images, gate_logits, draw.as_ref(), ctx)
    }

    /// Draws the noise of a training pass for `batch` images.
    ///
    /// # Errors
    /// [`Error::Shape`] if it would not fit in the address space.
    pub fn draw(&self, batch: usize, ctx: &mut Ctx) -> Result<GateDraw> {
        self.rule().draw(batch, ctx.rng())
    }

    /// A forward pass with the estimator's noise given, as in training; the rest follows `ctx`.
    ///
    /// # Errors
    /// The errors of [`forward`](Self::forward), and an error if the draw is not for these images
    /// or this estimator.
    pub fn forward_with_draw(
        &self,
        images: &Tensor,
        draw: &GateDraw,
        ctx: &mut Ctx,
    ) -> Result<GatedOutput> {
        let gate_logits = self.gater.forward(images, ctx)?;
        self.finish(images, gate_logits, Some(draw), ctx)
    }

    fn finish(
        &self,
        images: &Tensor,
        gate_logits: Tensor,
        draw: Option<&GateDraw>,
        ctx: &mut Ctx,
    ) -> Result<GatedOutput> {
        let rule = self.rule();
        let evaluated = rule.eval(&gate_logits)?;
        let values = match draw {
            Some(draw) => rule.train(&gate_logits, draw, ctx.progress())?,
            None => evaluated.clone(),
        };
        let gates = Gates::new(values, &self.plan.widths())?;
        let skip = !ctx.training() && !ctx.tracks();
        let logits = self.programs.run(images, Some(Gating { gates: &gates, skip }), ctx)?;
        let [_, _, h, w] = *images.dims() else { unreachable!("the network has run on them") };
        Ok(GatedOutput {
            logits,
            gate_logits,
            gates,
            evaluated,
            size: [h, w],
            progress: ctx.progress(),
        })
    }

    /// Cross-entropy of one label for each image, and the configured losses of the gates: by
    /// default the paper's `-log P(y | x) + lambda · ‖G(x)‖₁ / c`, the mean over the batch.
    ///
    /// # Errors
    /// An error if there are not N labels, one is not a class, or the gates cannot meet a
    /// configured target.
    pub fn loss(&self, output: &GatedOutput, labels: &[usize]) -> Result<Loss> {
        self.loss_with(output, &CrossEntropyLoss::default(), labels)
    }

    /// Computes the [`loss`](Self::loss) with another criterion, for labels or distributions.
    ///
    /// # Errors
    /// The errors of [`loss`](Self::loss) and of [`CrossEntropyLoss::forward`].
    pub fn loss_with<'a>(
        &self,
        output: &GatedOutput,
        criterion: &CrossEntropyLoss,
        targets: impl Into<Targets<'a>>,
    ) -> Result<Loss> {
        let cross_entropy = criterion.forward(&output.logits, targets)?;
        self.plan.check(&output.gates)?;
        let costs = self.mac_costs(output.size)?;
        let input = GateLossInput {
            gates: &output.gates,
            gate_logits: &output.gate_logits,
            evaluated: &output.evaluated,
            costs: &costs,
            latency: self.latency(),
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

    /// The gates that an evaluation pass makes of gate logits (N, outputs of the gater).
    ///
    /// # Errors
    /// [`Error::Shape`] if `gate_logits` has another shape.
    pub fn evaluation_gates(&self, gate_logits: &Tensor) -> Result<Gates> {
        Gates::new(self.rule().eval(gate_logits)?, &self.plan.widths())
    }

    /// The rule that makes gates of gate logits.
    pub(crate) fn rule(&self) -> GateRule {
        GateRule::new(&self.config, &self.plan)
    }

    /// Logits (N, classes) of the backbone with the given gates. Inactive filters are left out if
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
        self.programs.run(images, Some(Gating { gates, skip }), ctx)
    }

    /// The backbone with its gates, lowered for a mode.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code))]
    pub(crate) fn program(&self, mode: Mode) -> &Program {
        self.programs.of(mode)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &GatedConfig {
        &self.config
    }

    /// The plan of which gate is whose.
    #[must_use]
    pub fn plan(&self) -> &GatePlan {
        &self.plan
    }

    /// The network that is gated.
    #[must_use]
    pub fn backbone(&self) -> &PlainNet {
        &self.backbone
    }

    /// The network that decides the gates.
    #[must_use]
    pub fn gater(&self) -> &Gater {
        &self.gater
    }

    /// Loads the weights of a file written by [`save`](Self::save), whose model must have the same
    /// tensors.
    ///
    /// # Errors
    /// [`Error::OtherKind`] if the file is of a plain model. An error too if the file cannot be
    /// read, is of another number of gates, or holds other tensors (missing, unexpected and
    /// misshapen ones listed together) or a NaN; the weights are unchanged then.
    pub fn load_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        self.load_weights_with(path, Head::Same)
    }

    /// Loads weights as [`load_weights`](Self::load_weights) does, of all layers or of all but the
    /// backbone's head.
    ///
    /// # Errors
    /// The errors of [`load_weights`](Self::load_weights); with [`Head::Fresh`] also
    /// [`Error::Config`] if the backbone does not end in a linear layer.
    pub fn load_weights_with(&self, path: impl AsRef<Path>, head: Head) -> Result<()> {
        let file = Checkpoint::open(path)?;
        weights::of_kind(file.outline(), GATED)?;
        self.gater.check_gates(&file.outline().part("gater."))?;
        let name = self.backbone.network().head().map(|name| scoped(BACKBONE, name));
        weights::load(file, self, head, name)
    }

    /// Writes weights, configuration and `metadata` (safetensors, atomically).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, metadata: &BTreeMap<String, String>) -> Result<()> {
        checkpoint::save(path.as_ref(), GATED, &self.config, &self.state(), metadata)
    }

    /// The model stored by [`save`](Self::save).
    ///
    /// # Errors
    /// If the file is not such a checkpoint; see [`crate::Model::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<GatedNet> {
        checkpoint::load(path.as_ref(), GATED, GatedNet::like)
    }
}

impl Module for GatedNet {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.backbone.collect(&scoped(prefix, BACKBONE), out);
        self.gater.collect(&scoped(prefix, GATER), out);
    }
}

/// Sets the weights of the last batch norm of every block with gates to 0, if the weights are
/// fresh.
fn zero_blocks(network: &Network, plan: &GatePlan, drawn: bool) -> Result<()> {
    let mut found = false;
    for step in network.steps() {
        let (Some((_, bn)), Some(number)) = (&step.norm, step.number) else { continue };
        let gates = plan.convs()[number];
        if step.role == ConvRole::BlockOutput && gates.filters.or(gates.channels).is_some() {
            if drawn {
                bn.weight().update(|weight| weight.fill(0.0));
            }
            found = true;
        }
    }
    if found {
        return Ok(());
    }
    let rule = "a block with gates must end in a batch norm; a pre-activation block does not";
    Err(Error::Config { field: "zero_init", value: true.to_string(), rule })
}
