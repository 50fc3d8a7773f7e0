//! Writing a network, step by step.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear};
use gaternet_core::ops::{Conv2dOptions, Pool2dOptions};
use gaternet_core::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{ConvLayer, Layer, Network, Step, Value};
use crate::conv_spec::ConvRole;

/// Collects the steps of a [`Network`], in the order they run, with fresh weights: convolutions Kaiming
/// normal (fan-out), batch norm 1 and 0, linear bias 0. Names are those of the state dict.
///
/// ```
/// use gaternet_models::{ConvRole, NetworkBuilder};
///
/// # fn main() -> gaternet_core::Result<()> {
/// let (mut net, images) = NetworkBuilder::new(3, 0);
/// let x = net.conv("conv", images, 16, 3).batch_norm("bn").relu().done()?;
/// let h = net.conv("block.conv1", x, 16, 3).batch_norm("block.bn1").relu().role(ConvRole::Hidden);
/// let h = h.done()?;
/// let y = net.conv("block.conv2", h, 16, 3).batch_norm("block.bn2").residual(x).relu();
/// let y = y.role(ConvRole::ResidualOutput).done()?;
/// let features = net.global_avg_pool(y);
/// net.linear("fc", features, 10)?;
/// let network = net.finish();
/// assert_eq!(network.features(), 10);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NetworkBuilder {
    channels: usize,
    steps: Vec<Step>,
    convs: usize,
    /// Filters of the hidden convolutions still to come, the next last, if they are given.
    hidden_filters: Option<Vec<usize>>,
    weights: Weights,
}

/// Where weights come from.
#[derive(Debug)]
pub(crate) enum Weights {
    Drawn(Box<ChaCha8Rng>),
    /// They will be set: until then they take no memory.
    Unset,
}

impl Weights {
    pub(crate) fn drawn(seed: u64) -> Weights {
        Weights::Drawn(Box::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// Whether a start of its own may be written over some; those that will be set take no memory
    /// for it.
    pub(crate) fn are_drawn(&self) -> bool {
        matches!(self, Weights::Drawn(_))
    }

    fn conv(
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

    fn batch_norm(&self, channels: usize) -> Result<BatchNorm2d> {
        match self {
            Weights::Drawn(_) => BatchNorm2d::new(channels),
            Weights::Unset => BatchNorm2d::unset(channels),
        }
    }

    fn linear(&mut self, inputs: usize, features: usize) -> Result<Linear> {
        match self {
            Weights::Drawn(rng) => Linear::new(inputs, features, &mut **rng),
            Weights::Unset => Linear::unset(inputs, features),
        }
    }
}

impl NetworkBuilder {
    /// For images of `channels` channels, which are the value returned; weights are drawn from `seed`.
    #[must_use]
    pub fn new(channels: usize, seed: u64) -> (NetworkBuilder, Value) {
        NetworkBuilder::with_weights(channels, Weights::drawn(seed))
    }

    pub(crate) fn with_weights(channels: usize, weights: Weights) -> (NetworkBuilder, Value) {
        let steps = Vec::new();
        (NetworkBuilder { channels, steps, convs: 0, hidden_filters: None, weights }, Value(0))
    }

    /// From here on, hidden convolutions have these numbers of filters instead of what they are told.
    pub(crate) fn narrow_hidden(&mut self, filters: &[usize]) {
        self.hidden_filters = Some(filters.iter().rev().copied().collect());
    }

    /// # Errors
    /// [`Error::Config`] if [`narrow_hidden`](Self::narrow_hidden) was told of more convolutions than came.
    pub(crate) fn check_hidden(&self) -> Result<()> {
        match self.hidden_filters.as_ref().map(Vec::len) {
            None | Some(0) => Ok(()),
            Some(left) => Err(hidden_error(format!("{left} too many"))),
        }
    }

    /// Goes on after the step of `network` that computes `value`; layers up to there are shared with it.
    pub(crate) fn extend(network: &Network, value: Value, weights: Weights) -> NetworkBuilder {
        let steps = network.steps[..value.0].to_vec();
        let convs = steps.iter().filter(|step| matches!(step.layer, Layer::Conv(_))).count();
        NetworkBuilder { channels: network.channels, steps, convs, hidden_filters: None, weights }
    }

    /// C of a value.
    #[must_use]
    pub fn channels(&self, value: Value) -> usize {
        value.0.checked_sub(1).map_or(self.channels, |step| self.steps[step].channels)
    }

    /// A convolution with `filters` filters of `kernel` x `kernel`, stride 1, a border of half a kernel,
    /// no gates and nothing after it, unless the builder it returns is told so.
    pub fn conv(
        &mut self,
        name: impl Into<String>,
        input: Value,
        filters: usize,
        kernel: usize,
    ) -> ConvBuilder<'_> {
        ConvBuilder {
            net: self,
            name: name.into(),
            input,
            filters,
            kernel,
            stride: 1,
            padding: kernel / 2,
            bn: None,
            residual: None,
            relu: false,
            role: ConvRole::Ungated,
        }
    }

    /// `relu(bn(input))`, for a batch norm that follows no convolution.
    ///
    /// # Errors
    /// [`Error::Config`] if the input has no channel.
    pub fn batch_norm_relu(&mut self, name: impl Into<String>, input: Value) -> Result<Value> {
        self.push_batch_norm(name.into(), input, true)
    }

    /// `bn(input)`, for a batch norm that follows no convolution.
    ///
    /// # Errors
    /// [`Error::Config`] if the input has no channel.
    pub fn batch_norm(&mut self, name: impl Into<String>, input: Value) -> Result<Value> {
        self.push_batch_norm(name.into(), input, false)
    }

    /// (N, C) -> (N, features).
    ///
    /// # Errors
    /// [`Error::Config`] if one of them is 0.
    pub fn linear(
        &mut self,
        name: impl Into<String>,
        input: Value,
        features: usize,
    ) -> Result<Value> {
        let linear = self.weights.linear(self.channels(input), features)?;
        Ok(self.push(Layer::Linear(name.into(), linear), vec![input], None, false, features))
    }

    /// `max(0, input)`.
    pub fn relu(&mut self, input: Value) -> Value {
        let channels = self.channels(input);
        self.push(Layer::Identity, vec![input], None, true, channels)
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        let channels = self.channels(a);
        self.push(Layer::Identity, vec![a], Some(b), false, channels)
    }

    /// `max(0, a + b)`.
    pub fn add_relu(&mut self, a: Value, b: Value) -> Value {
        let channels = self.channels(a);
        self.push(Layer::Identity, vec![a], Some(b), true, channels)
    }

    /// The largest value of each window.
    pub fn max_pool(&mut self, input: Value, options: Pool2dOptions) -> Value {
        let channels = self.channels(input);
        self.push(Layer::MaxPool(options), vec![input], None, false, channels)
    }

    /// The mean of each window.
    pub fn avg_pool(&mut self, input: Value, options: Pool2dOptions) -> Value {
        let channels = self.channels(input);
        self.push(Layer::AvgPool(options), vec![input], None, false, channels)
    }

    /// (N, C, H, W) -> (N, C), the mean of each map.
    pub fn global_avg_pool(&mut self, input: Value) -> Value {
        let channels = self.channels(input);
        self.push(Layer::GlobalAvgPool, vec![input], None, false, channels)
    }

    /// Zeros (left, right, top, bottom) around each map; negative numbers crop.
    pub fn pad(&mut self, input: Value, padding: [isize; 4]) -> Value {
        let channels = self.channels(input);
        self.push(Layer::Pad(padding), vec![input], None, false, channels)
    }

    /// The channels of all inputs, in their order.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no input.
    pub fn concat(&mut self, inputs: &[Value]) -> Result<Value> {
        if inputs.is_empty() {
            let rule = "must hold a value";
            return Err(Error::Config { field: "concat inputs", value: "[]".to_owned(), rule });
        }
        let channels = inputs.iter().map(|value| self.channels(*value)).sum();
        Ok(self.push(Layer::Concat, inputs.to_vec(), None, false, channels))
    }

    /// `1 / (1 + exp(-input))`.
    pub fn sigmoid(&mut self, input: Value) -> Value {
        let channels = self.channels(input);
        self.push(Layer::Sigmoid, vec![input], None, false, channels)
    }

    /// Maps (N, C, H, W) times `factors` (N, C), as in squeeze-and-excitation.
    pub fn scale_channels(&mut self, maps: Value, factors: Value) -> Value {
        let channels = self.channels(maps);
        self.push(Layer::ScaleChannels, vec![maps, factors], None, false, channels)
    }

    /// In training, zeros with probability `p`; see [`gaternet_core::ops::dropout`].
    pub fn dropout(&mut self, input: Value, p: f32) -> Value {
        let channels = self.channels(input);
        self.push(Layer::Dropout(p), vec![input], None, false, channels)
    }

    /// A mean of two branches, with random weights in training; see [`gaternet_core::ops::shake_shake`].
    pub fn shake_shake(&mut self, a: Value, b: Value) -> Value {
        let channels = self.channels(a);
        self.push(Layer::ShakeShake, vec![a, b], None, false, channels)
    }

    /// The network; its output is the last value written.
    #[must_use]
    pub fn finish(self) -> Network {
        Network::new(self.channels, self.steps)
    }

    /// The network, and the source of its weights, for those that follow.
    pub(crate) fn finish_with_weights(self) -> (Network, Weights) {
        (Network::new(self.channels, self.steps), self.weights)
    }

    fn push_batch_norm(&mut self, name: String, input: Value, relu: bool) -> Result<Value> {
        let channels = self.channels(input);
        let bn = self.weights.batch_norm(channels)?;
        Ok(self.push(Layer::BatchNorm(name, bn), vec![input], None, relu, channels))
    }

    fn push(
        &mut self,
        layer: Layer,
        inputs: Vec<Value>,
        residual: Option<Value>,
        relu: bool,
        channels: usize,
    ) -> Value {
        self.steps.push(Step { layer, inputs, residual, relu, channels });
        Value(self.steps.len())
    }
}

/// A convolution about to be added to a network.
#[derive(Debug)]
#[must_use = "`done` adds it"]
pub struct ConvBuilder<'a> {
    net: &'a mut NetworkBuilder,
    name: String,
    input: Value,
    filters: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    bn: Option<String>,
    residual: Option<Value>,
    relu: bool,
    role: ConvRole,
}

impl ConvBuilder<'_> {
    /// Step of the kernel.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Border of zeros.
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// A batch norm after it.
    pub fn batch_norm(mut self, name: impl Into<String>) -> Self {
        self.bn = Some(name.into());
        self
    }

    /// Added after batch norm and gates.
    pub fn residual(mut self, value: Value) -> Self {
        self.residual = Some(value);
        self
    }

    /// A ReLU at the end.
    pub fn relu(mut self) -> Self {
        self.relu = true;
        self
    }

    /// Which placements gate it.
    pub fn role(mut self, role: ConvRole) -> Self {
        self.role = role;
        self
    }

    /// Adds it.
    ///
    /// # Errors
    /// [`Error::Config`] if a size is 0.
    pub fn done(self) -> Result<Value> {
        let ConvBuilder { net, name, input, mut filters, kernel, stride, padding, .. } = self;
        if let (ConvRole::Hidden, Some(given)) = (self.role, &mut net.hidden_filters) {
            let all = filters;
            filters = given.pop().ok_or_else(|| hidden_error(format!("none for {name}")))?;
            if filters > all {
                return Err(hidden_error(format!("{filters} of {all} for {name}")));
            }
        }
        let options = Conv2dOptions { stride: [stride; 2], padding: [padding; 2] };
        let channels = net.channels(input);
        let conv = net.weights.conv(channels, filters, kernel, options)?;
        let bn = match self.bn {
            Some(name) => Some((name, net.weights.batch_norm(filters)?)),
            None => None,
        };
        let number = net.convs;
        net.convs += 1;
        let layer = Layer::Conv(ConvLayer { name, conv, bn, role: self.role, number });
        Ok(net.push(layer, vec![input], self.residual, self.relu, filters))
    }
}

fn hidden_error(value: String) -> Error {
    let rule = "must be a number for each hidden convolution, in the order they run, at most what the \
                architecture has";
    Error::Config { field: "hidden filters", value, rule }
}
