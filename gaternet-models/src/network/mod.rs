//! A network as data: a list of steps that training, inference, gate plan and cost model read alike.

mod builder;
mod forward;
pub(crate) mod gating;
mod shapes;
mod step;

use gaternet_core::nn::{Module, State, scoped};
use gaternet_core::{Ctx, Result, Tensor};

pub(crate) use builder::Weights;
pub use builder::{ConvBuilder, NetworkBuilder};
use gating::Gating;
pub use step::Value;
pub(crate) use step::{ConvLayer, Layer, Step};

use crate::conv_spec::ConvSpec;

/// A network of convolutions, written with a [`NetworkBuilder`]. Its convolutions say where gates may
/// sit ([`ConvRole`](crate::ConvRole)); what is gated is up to the [`GatePlan`](crate::GatePlan).
#[derive(Debug, Clone)]
pub struct Network {
    /// Of the images.
    channels: usize,
    steps: Vec<Step>,
    /// After each step, the values that no later step reads.
    done: Vec<Vec<usize>>,
}

impl Network {
    /// Of images with `channels` channels.
    fn new(channels: usize, steps: Vec<Step>) -> Network {
        let mut last_read = vec![None; steps.len()];
        for (at, step) in steps.iter().enumerate() {
            step.reads().for_each(|value| {
                if let Some(before) = value.0.checked_sub(1) {
                    last_read[before] = Some(at);
                }
            });
        }
        let mut done = vec![Vec::new(); steps.len()];
        for (before, at) in last_read.into_iter().enumerate() {
            if let Some(at) = at {
                done[at].push(before + 1);
            }
        }
        Network { channels, steps, done }
    }

    /// Output (N, features) of `images` (N, C, H, W): the last step's.
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.run(images, None, ctx)
    }

    pub(crate) fn run(
        &self,
        images: &Tensor,
        gating: Option<Gating<'_>>,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        forward::run(self, images, gating, ctx)
    }

    /// Other steps on the same images.
    pub(crate) fn with_steps(&self, steps: Vec<Step>) -> Network {
        Network::new(self.channels, steps)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// (C, H, W) of each value for images of `size` (H, W): the images, then each step's output; vectors
    /// are (C, 1, 1).
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub(crate) fn shapes(&self, size: [usize; 2]) -> Result<Vec<[usize; 3]>> {
        shapes::infer(self, size)
    }

    /// Every convolution for images of `size` (H, W), in the order they run.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn convs(&self, size: [usize; 2]) -> Result<Vec<ConvSpec>> {
        let shapes = self.shapes(size)?;
        Ok(self.list_convs(|step| [shapes[step + 1][1], shapes[step + 1][2]]))
    }

    /// The convolutions, with outputs of one pixel: for what does not depend on sizes.
    pub(crate) fn sizeless_convs(&self) -> Vec<ConvSpec> {
        self.list_convs(|_| [1, 1])
    }

    fn list_convs(&self, out_size: impl Fn(usize) -> [usize; 2]) -> Vec<ConvSpec> {
        let conv = |(at, step): (usize, &Step)| {
            let Layer::Conv(layer) = &step.layer else { return None };
            let [out_channels, in_channels, kernel @ ..] = layer.conv.shape();
            Some(ConvSpec {
                name: layer.name.clone(),
                in_channels,
                out_channels,
                kernel,
                out_size: out_size(at),
                role: layer.role,
                reads: self.hidden_source(step.inputs[0]).map(|hidden| hidden.name.clone()),
            })
        };
        self.steps.iter().enumerate().filter_map(conv).collect()
    }

    /// The hidden convolution whose filters are the channels of a value that a convolution reads. What others
    /// read too is not hidden.
    fn hidden_source(&self, value: Value) -> Option<&ConvLayer> {
        let step = &self.steps[value.0.checked_sub(1)?];
        let readers = self.steps.iter().flat_map(Step::reads).filter(|read| *read == value);
        if readers.count() > 1 {
            return None;
        }
        match &step.layer {
            Layer::Conv(conv) => (conv.role == crate::ConvRole::Hidden).then_some(conv),
            // A zero stays 0.
            Layer::Dropout(_) => self.hidden_source(step.inputs[0]),
            _ => None,
        }
    }

    /// MACs for one image of `size` (H, W) with every filter running: convolutions, linear layers, and one
    /// for each pixel of a global pool.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn macs(&self, size: [usize; 2]) -> Result<u64> {
        let shapes = self.shapes(size)?;
        let other = |step: &Step| -> u64 {
            let input: usize = shapes[step.inputs[0].0].iter().product();
            match &step.layer {
                Layer::GlobalAvgPool => input as u64,
                Layer::Linear(_, linear) => {
                    linear.weight().shape().dims().iter().product::<usize>() as u64
                }
                _ => 0,
            }
        };
        let convs: u64 = self.convs(size)?.iter().map(ConvSpec::macs).sum();
        Ok(convs + self.steps.iter().map(other).sum::<u64>())
    }

    /// The fewest images of `size` (H, W) that a training batch may have: 2 if a batch norm would
    /// have a single value for each channel of one image, whose variance is 0; else 1.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn min_train_batch(&self, size: [usize; 2]) -> Result<usize> {
        let shapes = self.shapes(size)?;
        let of_one_value = self.steps.iter().zip(&shapes[1..]).any(|(step, [_, h, w])| {
            let normalises = match &step.layer {
                Layer::Conv(conv) => conv.bn.is_some(),
                layer => matches!(layer, Layer::BatchNorm(..)),
            };
            normalises && h * w == 1
        });
        Ok(if of_one_value { 2 } else { 1 })
    }

    /// Name of the linear layer that computes the output, if one does.
    pub(crate) fn head(&self) -> Option<&str> {
        match self.steps.last() {
            Some(Step { layer: Layer::Linear(name, _), residual: None, relu: false, .. }) => {
                Some(name)
            }
            _ => None,
        }
    }

    /// Width of the last step's output.
    #[must_use]
    pub fn features(&self) -> usize {
        self.steps.last().map_or(self.channels, |step| step.channels)
    }
}

impl Module for Network {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        for step in &self.steps {
            match &step.layer {
                Layer::Conv(ConvLayer { name, conv, bn, .. }) => {
                    conv.collect(&scoped(prefix, name), out);
                    if let Some((name, bn)) = bn {
                        bn.collect(&scoped(prefix, name), out);
                    }
                }
                Layer::BatchNorm(name, bn) => bn.collect(&scoped(prefix, name), out),
                Layer::Linear(name, linear) => linear.collect(&scoped(prefix, name), out),
                _ => {}
            }
        }
    }
}
