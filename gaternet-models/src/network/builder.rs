//! [`NetworkBuilder`], which writes a network step by step.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear};
use gaternet_core::ops::Conv2dOptions;
use gaternet_core::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::conv_spec::ConvRole;
use super::step::{Step, Value};
use super::{Network, output_shape};
use crate::ops::Op;

/// Size (H, W) of the images for which steps are checked when they are added. Sums and
/// concatenations of maps whose sizes differ here differ for most images; windows are smaller.
const TRIAL: [usize; 2] = [1024, 1024];

/// Collects the steps of a [`Network`], in the order they run, with fresh weights: convolutions
/// Kaiming normal (fan-out), batch norm 1 and 0, linear bias 0. Names are those of the state dict.
///
/// A step that cannot be is an error of the call that adds it or, where that returns a [`Value`]
/// alone, of the next that can fail, at the latest of [`finish`](Self::finish); it names the layer.
///
/// ```
/// use gaternet_models::{ConvRole, NetworkBuilder};
///
/// # fn main() -> gaternet_core::Result<()> {
/// let (mut net, images) = NetworkBuilder::new(3, 0);
/// let x = net.conv("conv", images, 16, 3).batch_norm("bn").relu().done()?;
/// let h = net.conv("block.conv1", x, 16, 3).batch_norm("block.bn1").relu().role(ConvRole::Inner);
/// let h = h.done()?;
/// let y = net.conv("block.conv2", h, 16, 3).batch_norm("block.bn2").residual(x).relu();
/// let y = y.role(ConvRole::BlockOutput).done()?;
/// let features = net.global_avg_pool(y);
/// net.linear("fc", features, 10)?;
/// let network = net.finish()?;
/// assert_eq!(network.features(), 10);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NetworkBuilder {
    id: u64,
    steps: Vec<Step>,
    /// Shape (C, H, W) of each value for images of [`TRIAL`] size.
    shapes: Vec<[usize; 3]>,
    /// State-dict names that are taken.
    names: HashSet<String>,
    /// Number of steps so far whose op has filters.
    numbered: usize,
    /// Filters of the inner convolutions still to come, the next one last; `None` if the calls
    /// decide.
    pub(super) inner_filters: Option<Vec<usize>>,
    pub(super) weights: Weights,
    /// The first failure of a call that could not return it.
    failed: Option<Error>,
}

/// The source of a network's weights.
#[derive(Debug)]
pub(crate) enum Weights {
    Drawn(Box<ChaCha8Rng>),
    /// The weights will be set later: until then they take no memory.
    Unset,
}

impl Weights {
    pub(crate) fn drawn(seed: u64) -> Weights {
        Weights::Drawn(Box::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// Whether the weights are fresh, so that special initial values may be written over some;
    /// unset weights take no memory for it.
    pub(crate) fn are_drawn(&self) -> bool {
        matches!(self, Weights::Drawn(_))
    }

    pub(super) fn conv(
        &mut self,
        channels: usize,
        filters: usize,
        kernel: usize,
        options: Conv2dOptions,
    ) -> Result<Conv2d> {
        match self {
            Weights::Drawn(rng) => Conv2d::new(channels, filters, [kernel; 2], options, &mut **rng),
            Weights::Unset => Conv2d::unset(channels, filters, [kernel; 2], options),
        }
    }

    pub(super) fn batch_norm(&self, channels: usize) -> Result<BatchNorm2d> {
        match self {
            Weights::Drawn(_) => BatchNorm2d::new(channels),
            Weights::Unset => BatchNorm2d::unset(channels),
        }
    }

    pub(super) fn linear(&mut self, inputs: usize, features: usize) -> Result<Linear> {
        match self {
            Weights::Drawn(rng) => Linear::new(inputs, features, &mut **rng),
            Weights::Unset => Linear::unset(inputs, features),
        }
    }
}

/// The part of a step after its op: batch norm, residual, ReLU, and its role.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest {
    /// Name of the batch norm, if there is one.
    pub(super) norm: Option<String>,
    pub(super) residual: Option<Value>,
    pub(super) relu: bool,
    pub(super) role: ConvRole,
}

impl NetworkBuilder {
    /// Starts a network for images of `channels` channels, which are the value returned; weights
    /// are drawn from `seed`.
    #[must_use]
    pub fn new(channels: usize, seed: u64) -> (NetworkBuilder, Value) {
        NetworkBuilder::with_weights(channels, Weights::drawn(seed))
    }

    pub(crate) fn with_weights(channels: usize, weights: Weights) -> (NetworkBuilder, Value) {
        static BUILDERS: AtomicU64 = AtomicU64::new(0);
        let [h, w] = TRIAL;
        let net = NetworkBuilder {
            id: BUILDERS.fetch_add(1, Ordering::Relaxed),
            steps: Vec::new(),
            shapes: vec![[channels, h, w]],
            names: HashSet::new(),
            numbered: 0,
            inner_filters: None,
            weights,
            failed: None,
        };
        let images = Value { number: 0, builder: net.id };
        (net, images)
    }

    /// From here on, inner convolutions have these numbers of filters instead of those of the
    /// calls.
    pub(crate) fn narrow_inner(&mut self, filters: &[usize]) {
        self.inner_filters = Some(filters.iter().rev().copied().collect());
    }

    /// # Errors
    /// [`Error::Config`] if [`narrow_inner`](Self::narrow_inner) was given more numbers than
    /// convolutions came.
    pub(crate) fn check_inner(&self) -> Result<()> {
        match self.inner_filters.as_ref().map(Vec::len) {
            None | Some(0) => Ok(()),
            Some(left) => Err(inner_error(format!("{left} too many"))),
        }
    }

    /// Starts with the first `steps` steps of `network`, whose layers are shared with it; also
    /// returns the value of the last of them.
    pub(crate) fn extend(
        network: &Network,
        steps: usize,
        weights: Weights,
    ) -> Result<(NetworkBuilder, Value)> {
        let (mut net, mut last) = NetworkBuilder::with_weights(network.channels(), weights);
        for step in &network.steps()[..steps] {
            last = net.add_step(step.clone())?;
        }
        Ok((net, last))
    }

    /// Channels C of a value; 0 if the value is not of this builder.
    #[must_use]
    pub fn channels(&self, value: Value) -> usize {
        match value.builder == self.id {
            true => self.shapes.get(value.number).map_or(0, |shape| shape[0]),
            false => 0,
        }
    }

    /// Returns the network, whose output is the last value written.
    ///
    /// # Errors
    /// The error of an earlier call that could not return it, and [`Error::Layer`] if the last
    /// layer computes feature maps instead of vectors.
    pub fn finish(self) -> Result<Network> {
        Ok(self.finish_with_weights()?.0)
    }

    /// Returns the network and the source of its weights, for layers that follow.
    pub(crate) fn finish_with_weights(self) -> Result<(Network, Weights)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let [channels, h, w] = self.shapes[self.steps.len()]
            && [h, w] != [1, 1]
        {
            let rule = "the last layer must compute vectors (N, features), those of a classifier \
                        its logits: end with global_avg_pool and linear";
            let got = format!("{channels} maps");
            let last = self.steps.last().map_or("images", |step| &step.name);
            return Err(Error::Shape { op: "network", rule, got }.at(last));
        }
        Ok((Network::new(self.shapes[0][0], self.steps), self.weights))
    }

    /// Adds a step of `op`; without a name, messages call it `step` and its number.
    pub(super) fn push(
        &mut self,
        name: Option<String>,
        op: Arc<dyn Op>,
        inputs: &[Value],
        rest: Rest,
    ) -> Result<Value> {
        let named = name.is_some();
        let name = name.unwrap_or_else(|| format!("step{}", self.steps.len()));
        self.try_push(named, &name, op, inputs, rest).map_err(|error| error.at(&name))
    }

    fn try_push(
        &mut self,
        named: bool,
        name: &str,
        op: Arc<dyn Op>,
        inputs: &[Value],
        rest: Rest,
    ) -> Result<Value> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let inputs = inputs.iter().map(|value| self.number(*value)).collect::<Result<Vec<_>>>()?;
        if inputs.is_empty() {
            let rule = "must hold a value";
            return Err(Error::Config { field: "inputs", value: "[]".to_owned(), rule });
        }
        let residual = rest.residual.map(|value| self.number(value)).transpose()?;
        if rest.role != ConvRole::Ungated && op.filters().is_none() {
            let rule = "only an op with filters can have gates: implement Op::filters";
            return Err(Error::Config { field: "role", value: format!("{:?}", rest.role), rule });
        }
        let shape = op.shape(&super::gather(&inputs, &self.shapes))?;
        let norm = match rest.norm {
            Some(norm) => Some((norm, self.weights.batch_norm(shape[0])?)),
            None => None,
        };
        // A batch norm without an op shares its name with the step.
        let own = named && norm.as_ref().is_none_or(|(norm, _)| norm != name);
        let names = own.then_some(name).into_iter().chain(norm.iter().map(|(norm, _)| &**norm));
        for name in names {
            if !self.names.insert(name.to_owned()) {
                let rule = "each layer must have a name of its own";
                return Err(Error::Config { field: "name", value: name.to_owned(), rule });
            }
        }
        let (relu, role) = (rest.relu, rest.role);
        let (name, number, channels) = (name.to_owned(), None, shape[0]);
        self.add_step(Step { name, op, inputs, norm, residual, relu, role, number, channels })
    }

    fn add_step(&mut self, mut step: Step) -> Result<Value> {
        let shape = output_shape(&*step.op, &step.inputs, step.residual, &self.shapes)?;
        self.shapes.push(shape);
        step.number = step.op.filters().map(|_| self.numbered);
        self.numbered += usize::from(step.number.is_some());
        self.steps.push(step);
        Ok(Value { number: self.steps.len(), builder: self.id })
    }

    /// The value of an added step; after a failure the images, and the next call that can fail
    /// returns the error.
    pub(super) fn or_later(&mut self, added: Result<Value>) -> Value {
        added.unwrap_or_else(|error| {
            self.failed = Some(error);
            Value { number: 0, builder: self.id }
        })
    }

    /// Checks that a value is of this builder and that no earlier step has failed.
    pub(super) fn check(&mut self, value: Value) -> Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.number(value).map(|_| ()),
        }
    }

    fn number(&self, value: Value) -> Result<usize> {
        if value.builder == self.id && value.number < self.shapes.len() {
            return Ok(value.number);
        }
        let rule = "must be one that this builder has returned";
        Err(Error::Config { field: "value", value: format!("number {}", value.number), rule })
    }
}

pub(super) fn inner_error(value: String) -> Error {
    let rule = "must be a number for each inner convolution, in the order they run, at most what \
                the architecture has";
    Error::Config { field: "inner filters", value, rule }
}
