//! A file of reference values, and the comparison with what this library computes.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use gaternet::core::checkpoint::{Checkpoint, TensorValue};
use gaternet::core::gate::{Estimator, GateDraw, SemHashDraw, l1_loss};
use gaternet::core::nn::{Module, State};
use gaternet::core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet::core::{Ctx, Gradients, Parameter, Tensor};
use gaternet::models::{
    GateLoss, GateTerm, GatedConfig, GatedOutput, GatedResNet, GaterConfig, Loss,
};

use crate::group::{Group, Measure};
use crate::nudge::Nudge;

/// Bound of every gradient.
pub(crate) const GRADIENT: Measure = Measure::RelativeL2(1e-3);

/// The errors of all groups, and the biases that had to be moved for them.
pub(crate) struct Comparison {
    pub(crate) groups: Vec<Group>,
    pub(crate) nudges: Vec<Nudge>,
}

/// Name, computed values, values of the reference.
pub(crate) type Pair<'a> = (String, &'a [f32], &'a [f32]);

/// A training pass.
pub(crate) struct Pass {
    draw: SemHashDraw,
    output: GatedOutput,
    loss: Loss,
    gradients: Gradients,
}

/// The contents of a reference file.
pub(crate) struct Reference {
    file: Checkpoint,
    /// State before the step.
    before: Checkpoint,
    model: GatedResNet,
    lambda: f32,
    optimizer: SgdConfig,
}

impl Reference {
    /// Reads the file and builds its model, with the state before the step.
    pub(crate) fn load(path: &Path) -> Result<Reference> {
        let file = Checkpoint::load(path)?;
        let paper = GatedConfig::cifar(metadata(&file, "depth")?, metadata(&file, "classes")?);
        let gater = GaterConfig {
            depth: metadata(&file, "gater_depth")?,
            bottleneck: metadata(&file, "bottleneck")?,
            ..paper.gater
        };
        let lambda = metadata(&file, "lambda")?;
        let gate_losses = vec![GateTerm::new(GateLoss::L1, lambda)];
        let config = GatedConfig { gater, gate_losses, ..paper };
        let model = GatedResNet::new(config, 0)?;
        let mut before = file.clone();
        before
            .tensors
            .retain(|name, _| name.starts_with("backbone.") || name.starts_with("gater."));
        let optimizer = file.metadata.get("optimizer").map_or("", String::as_str);
        let optimizer = parse_optimizer(optimizer)?;
        Ok(Reference { file, before, model, lambda, optimizer })
    }

    /// What is compared, in a line.
    pub(crate) fn describe(&self) -> String {
        let config = self.model.config();
        format!(
            "gated {}, {} classes, {} gates; gater ResNet-{}, bottleneck {}; lambda {}",
            config.backbone,
            config.backbone.classes,
            self.model.plan().gates(),
            config.gater.depth,
            config.gater.bottleneck,
            self.lambda,
        )
    }

    /// Repeats the computation: an evaluation pass, the training pass that `resolve` finds, its
    /// gradients, one step.
    pub(crate) fn compare(
        &self,
        resolve: impl FnOnce(&Reference) -> Result<(Vec<Nudge>, Pass)>,
    ) -> Result<Comparison> {
        self.before.load_into(&self.model.state())?;
        let mut groups = self.evaluation(self.tensor("input.images")?)?;
        let (nudges, pass) = resolve(self)?;
        groups.extend(self.training(&pass)?);
        groups.extend(self.gradients(&pass)?);
        Sgd::new(self.model.parameters(), self.optimizer)?.step(&pass.gradients)?;
        groups.extend(self.state_after_step()?);
        Ok(Comparison { groups, nudges })
    }

    /// The training pass and its gradients, from the state before the step with some biases moved.
    pub(crate) fn training_pass(&self, nudges: &[Nudge]) -> Result<Pass> {
        self.before.load_into(&self.model.state())?;
        for (name, parameter) in self.model.parameters() {
            for nudge in nudges.iter().filter(|nudge| nudge.parameter == name) {
                parameter.update(|bias| bias[nudge.channel] += nudge.by);
            }
        }
        let labels = self.integers("input.labels")?;
        let labels: Vec<usize> =
            labels.iter().map(|label| usize::try_from(*label)).collect::<Result<_, _>>()?;
        let discrete = self.integers("input.discrete")?.iter().map(|flag| *flag != 0).collect();
        let draw = SemHashDraw { noise: self.tensor("input.noise")?.clone(), discrete };
        let images = self.tensor("input.images")?;
        let given = GateDraw::SemHash(draw.clone());
        let output = self.model.forward_with_draw(images, &given, &mut Ctx::train(0))?;
        let loss = self.model.loss(&output, &labels)?;
        let gradients = loss.total.backward_retaining(&[output.gates.values()])?;
        Ok(Pass { draw, output, loss, gradients })
    }

    /// Gradients of the parameters beside the reference's.
    pub(crate) fn parameter_gradients<'a>(&'a self, pass: &'a Pass) -> Result<Vec<Pair<'a>>> {
        let pair = |(name, parameter): (String, Parameter)| {
            let want = self.tensor(&format!("grad.{name}"))?;
            Ok((name, pass.gradients.get(&parameter)?.data(), want.data()))
        };
        self.model.parameters().into_iter().map(pair).collect()
    }

    fn evaluation(&self, images: &Tensor) -> Result<Vec<Group>> {
        let output = self.model.forward(images, &mut Ctx::eval())?;
        Ok(vec![
            self.group("eval.preact", "evaluation, gate logits", 1e-4, &output.gate_logits)?,
            self.group("eval.gates", "evaluation, gates", 0.0, output.gates.values())?,
            self.group("eval.logits", "evaluation, logits", 1e-4, &output.logits)?,
        ])
    }

    fn training(&self, pass: &Pass) -> Result<Vec<Group>> {
        let output = &pass.output;
        let (gate_logits, noise) = (output.gate_logits.detach(), pass.draw.noise.clone());
        let soft = SemHashDraw { noise, discrete: vec![false; gate_logits.dims()[0]] };
        let (widths, soft) = ([gate_logits.dims()[1]], GateDraw::SemHash(soft));
        let soft_gates = Estimator::SemHash.apply(&gate_logits, &widths, &soft, 0.0)?;
        let gate_l1 = l1_loss(&output.gates.values().detach())?;
        let mut losses = Group::new("training, losses (relative)", Measure::Relative(1e-5));
        for (name, value) in [
            ("train.cross_entropy", &pass.loss.cross_entropy),
            ("train.gate_l1", &gate_l1),
            ("train.loss", &pass.loss.total),
        ] {
            losses.add(name, value.data(), self.tensor(name)?.data())?;
        }
        Ok(vec![
            self.group("train.soft_gates", "training, soft gates", 1e-5, &soft_gates)?,
            self.group("train.gates", "training, mixed gates", 1e-5, output.gates.values())?,
            self.group("train.logits", "training, logits", 1e-3, &output.logits)?,
            losses,
        ])
    }

    fn gradients(&self, pass: &Pass) -> Result<Vec<Group>> {
        let mut of_gates = Group::new("gradient of the gates (relative L2)", GRADIENT);
        let got = pass.gradients.of(pass.output.gates.values())?;
        of_gates.add("grad.gates", got.data(), self.tensor("grad.gates")?.data())?;
        let mut of_parameters = Group::new("gradients of the parameters (relative L2)", GRADIENT);
        for (name, got, want) in self.parameter_gradients(pass)? {
            of_parameters.add(&format!("grad.{name}"), got, want)?;
        }
        Ok(vec![of_gates, of_parameters])
    }

    fn state_after_step(&self) -> Result<Vec<Group>> {
        let bound = Measure::Absolute(1e-4);
        let mut parameters = Group::new("parameters after the step", bound);
        let mut statistics = Group::new("batch norm statistics after the step", bound);
        let mut counters = Group::new("batches tracked after the step", Measure::Absolute(0.0));
        for (name, state) in self.model.state() {
            let name = format!("step.{name}");
            match state {
                State::Parameter(parameter) => {
                    let got = parameter.tensor();
                    parameters.add(&name, got.data(), self.tensor(&name)?.data())?;
                }
                State::Buffer(buffer) => {
                    let got = buffer.tensor();
                    statistics.add(&name, got.data(), self.tensor(&name)?.data())?;
                }
                State::Counter(counter) => {
                    let want: Vec<f32> =
                        self.integers(&name)?.iter().map(|count| *count as f32).collect();
                    counters.add(&name, &[counter.get() as f32], &want)?;
                }
            }
        }
        Ok(vec![parameters, statistics, counters])
    }

    fn group(&self, tensor: &str, name: &'static str, bound: f64, got: &Tensor) -> Result<Group> {
        let mut group = Group::new(name, Measure::Absolute(bound));
        group.add(tensor, got.data(), self.tensor(tensor)?.data())?;
        Ok(group)
    }

    fn value(&self, name: &str) -> Result<&TensorValue> {
        let value = self.file.tensors.get(name);
        value.with_context(|| format!("{}: no `{name}`", self.file.path.display()))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        match self.value(name)? {
            TensorValue::F32(tensor) => Ok(tensor),
            _ => {
                bail!("{}: `{name}` is not of type f32", self.file.path.display())
            }
        }
    }

    fn integers(&self, name: &str) -> Result<&[i64]> {
        match self.value(name)? {
            TensorValue::I64 { values, .. } => Ok(values),
            _ => {
                bail!("{}: `{name}` is not of an integer type", self.file.path.display())
            }
        }
    }
}

fn metadata<T: FromStr>(file: &Checkpoint, key: &str) -> Result<T> {
    let path = file.path.display();
    let text = file.metadata.get(key).with_context(|| format!("{path}: no metadata `{key}`"))?;
    text.parse().map_err(|_| anyhow!("{path}: metadata `{key}` is {text:?}, not a number"))
}

/// `sgd lr=0.1 momentum=0.9 nesterov weight_decay=5e-4 on all parameters`
fn parse_optimizer(text: &str) -> Result<SgdConfig> {
    let context = || format!("metadata `optimizer` is {text:?}");
    let settings = text.strip_prefix("sgd ").with_context(context)?;
    let settings = settings.strip_suffix("on all parameters").unwrap_or(settings);
    let mut config = SgdConfig::default()
        .with_learning_rate(f32::NAN)
        .with_momentum(0.0)
        .with_dampening(0.0)
        .with_weight_decay(0.0)
        .with_nesterov(false);
    for setting in settings.split_whitespace() {
        match setting.split_once('=') {
            Some(("lr", value)) => config.learning_rate = value.parse().with_context(context)?,
            Some(("momentum", value)) => config.momentum = value.parse().with_context(context)?,
            Some(("dampening", value)) => config.dampening = value.parse().with_context(context)?,
            Some(("weight_decay", value)) => {
                config.weight_decay = value.parse().with_context(context)?;
            }
            None if setting == "nesterov" => config.nesterov = true,
            _ => bail!("{}: unknown setting {setting:?}", context()),
        }
    }
    ensure!(!config.learning_rate.is_nan(), "{}: no learning rate", context());
    Ok(config)
}
