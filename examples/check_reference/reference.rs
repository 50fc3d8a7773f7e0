//! A file of reference values, and the comparison with what this library computes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use gaternet::core::checkpoint::{Checkpoint, TensorValue};
use gaternet::core::gate::{SemHashDraw, soft};
use gaternet::core::nn::{Module, State};
use gaternet::core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet::core::{Ctx, Gradients, Tensor, ops};
use gaternet::models::{GatedOutput, GatedResNet, GatedResNetConfig, ResNetConfig};

/// How far a group of values may be from the reference.
#[derive(Debug, Clone, Copy)]
pub enum Measure {
    /// Largest absolute difference.
    Absolute(f64),
    /// Difference over the size of the reference.
    Relative(f64),
    /// L2 norm of the difference over that of the reference, the largest of all tensors.
    RelativeL2(f64),
}

impl Measure {
    fn bound(self) -> f64 {
        match self {
            Measure::Absolute(bound) | Measure::Relative(bound) | Measure::RelativeL2(bound) => bound,
        }
    }

    fn error(self, got: &[f32], want: &[f32]) -> f64 {
        let pairs = || got.iter().zip(want).map(|(g, w)| (f64::from(*g), f64::from(*w)));
        // f64::max drops a NaN, which must count as the worst error.
        let largest = |errors: &mut dyn Iterator<Item = f64>| {
            errors.fold(0.0, |worst: f64, e| if e.is_nan() { f64::INFINITY } else { worst.max(e) })
        };
        match self {
            Measure::Absolute(_) => largest(&mut pairs().map(|(g, w)| (g - w).abs())),
            Measure::Relative(_) => {
                largest(&mut pairs().map(|(g, w)| (g - w).abs() / w.abs().max(f64::MIN_POSITIVE)))
            }
            Measure::RelativeL2(_) => {
                let norm = |sum: f64| if sum.is_nan() { f64::INFINITY } else { sum.sqrt() };
                let difference = norm(pairs().map(|(g, w)| (g - w).powi(2)).sum());
                difference / norm(pairs().map(|(_, w)| w * w).sum()).max(f64::MIN_POSITIVE)
            }
        }
    }
}

/// The worst error of tensors that share a bound.
#[derive(Debug)]
pub struct Group {
    name: &'static str,
    measure: Measure,
    error: f64,
    worst: String,
}

impl Group {
    fn new(name: &'static str, measure: Measure) -> Group {
        Group { name, measure, error: 0.0, worst: String::new() }
    }

    fn add(&mut self, name: &str, got: &[f32], want: &[f32]) -> Result<()> {
        ensure!(got.len() == want.len(), "{name}: {} values, not {}", got.len(), want.len());
        let error = self.measure.error(got, want);
        if error > self.error || self.worst.is_empty() {
            self.error = error;
            name.clone_into(&mut self.worst);
        }
        Ok(())
    }

    /// Whether every tensor of the group is within its bound.
    pub fn passes(&self) -> bool {
        self.error <= self.measure.bound()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passes() { "" } else { "  FAILED" };
        let (error, bound) = (self.error, self.measure.bound());
        write!(f, "{:<44} {error:>12.3e} {bound:>10.0e}  {}{verdict}", self.name, self.worst)
    }
}

/// The contents of a reference file.
pub struct Reference {
    file: Checkpoint,
    model: GatedResNet,
    lambda: f32,
    optimizer: SgdConfig,
}

impl Reference {
    /// Reads the file and builds its model, with the state before the step.
    pub fn load(path: &Path) -> Result<Reference> {
        let file = Checkpoint::load(path)?;
        let depth = metadata(&file, "depth")?;
        let backbone = ResNetConfig { depth, classes: metadata(&file, "classes")? };
        let config = GatedResNetConfig {
            backbone,
            gater_depth: metadata(&file, "gater_depth")?,
            bottleneck: metadata(&file, "bottleneck")?,
        };
        let model = GatedResNet::new(config, 0)?;
        let mut before = file.clone();
        before.tensors.retain(|name, _| name.starts_with("backbone.") || name.starts_with("gater."));
        before.load_into(&model.state())?;
        let optimizer = file.metadata.get("optimizer").map_or("", String::as_str);
        let optimizer = parse_optimizer(optimizer)?;
        let lambda = metadata(&file, "lambda")?;
        Ok(Reference { file, model, lambda, optimizer })
    }

    /// What is compared, in a line.
    pub fn describe(&self) -> String {
        let config = self.model.config();
        format!(
            "gated ResNet-{}, {} classes, {} gates; gater ResNet-{}, bottleneck {}; lambda {}",
            config.backbone.depth,
            config.backbone.classes,
            self.model.plan().gates(),
            config.gater_depth,
            config.bottleneck,
            self.lambda,
        )
    }

    /// Repeats the computation: an evaluation pass, a training pass, its gradients, one step.
    pub fn compare(&self) -> Result<Vec<Group>> {
        let images = self.tensor("input.images")?;
        let mut groups = self.evaluation(images)?;
        let labels = self.integers("input.labels")?;
        let labels: Vec<usize> =
            labels.iter().map(|label| usize::try_from(*label)).collect::<Result<_, _>>()?;
        let discrete = self.integers("input.discrete")?.iter().map(|flag| *flag != 0).collect();
        let draw = SemHashDraw { noise: self.tensor("input.noise")?.clone(), discrete };

        let mut sgd = Sgd::new(self.model.parameters(), self.optimizer)?;
        let output = self.model.forward_with_draw(images, &draw, &Ctx::train(0))?;
        let loss = output.loss(&labels, self.lambda)?;
        groups.extend(self.training(&output, &draw)?);
        let mut losses = Group::new("training losses, relative", Measure::Relative(1e-5));
        for (name, value) in [
            ("train.cross_entropy", &loss.cross_entropy),
            ("train.gate_l1", &loss.gate_l1),
            ("train.loss", &loss.total),
        ] {
            losses.add(name, value.data(), self.tensor(name)?.data())?;
        }
        groups.push(losses);
        let gradients = loss.total.backward_retaining(&[output.gates.values()])?;
        groups.extend(self.gradients(&gradients, output.gates.values())?);
        sgd.step(&gradients)?;
        groups.extend(self.state_after_step()?);
        Ok(groups)
    }

    fn evaluation(&self, images: &Tensor) -> Result<Vec<Group>> {
        let output = self.model.forward(images, &mut Ctx::eval())?;
        Ok(vec![
            self.group("eval.preact", "evaluation, gate pre-activations", 1e-4, &output.preact)?,
            self.group("eval.gates", "evaluation, gates", 0.0, output.gates.values())?,
            self.group("eval.logits", "evaluation, logits", 1e-4, &output.logits)?,
        ])
    }

    fn training(&self, output: &GatedOutput, draw: &SemHashDraw) -> Result<Vec<Group>> {
        let soft_gates = soft(&ops::add(&output.preact.detach(), &draw.noise)?)?;
        Ok(vec![
            self.group("train.soft_gates", "training, soft gates", 1e-5, &soft_gates)?,
            self.group("train.gates", "training, mixed gates", 1e-5, output.gates.values())?,
            self.group("train.logits", "training, logits", 1e-3, &output.logits)?,
        ])
    }

    fn gradients(&self, gradients: &Gradients, gates: &Tensor) -> Result<Vec<Group>> {
        let measure = Measure::RelativeL2(1e-3);
        let mut of_gates = Group::new("gradient of the gates, relative L2", measure);
        of_gates.add("grad.gates", gradients.of(gates)?.data(), self.tensor("grad.gates")?.data())?;
        let mut of_parameters = Group::new("gradients of the parameters, relative L2", measure);
        for (name, parameter) in self.model.parameters() {
            let name = format!("grad.{name}");
            let want = self.tensor(&name)?;
            of_parameters.add(&name, gradients.get(&parameter)?.data(), want.data())?;
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
        let tensors: &BTreeMap<_, _> = &self.file.tensors;
        tensors.get(name).with_context(|| format!("{}: no `{name}`", self.file.path.display()))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        match self.value(name)? {
            TensorValue::F32(tensor) => Ok(tensor),
            TensorValue::I64 { .. } => {
                bail!("{}: `{name}` is not of type f32", self.file.path.display())
            }
        }
    }

    fn integers(&self, name: &str) -> Result<&[i64]> {
        match self.value(name)? {
            TensorValue::I64 { values, .. } => Ok(values),
            TensorValue::F32(_) => {
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
    let mut config = SgdConfig {
        learning_rate: f32::NAN,
        momentum: 0.0,
        dampening: 0.0,
        weight_decay: 0.0,
        nesterov: false,
    };
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
