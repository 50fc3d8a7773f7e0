//! A network as data: a list of steps, from which training, plans, files and counts are lowered.

mod builder;
mod conv_builder;
mod conv_spec;
mod layers;
mod step;

use gaternet_core::nn::{Module, State, scoped};
use gaternet_core::{Error, Result, Shape};

pub use builder::NetworkBuilder;
pub(crate) use builder::Weights;
pub use conv_builder::{ConvBuilder, OpBuilder};
pub use conv_spec::{ConvRole, ConvSpec};
pub(crate) use step::Step;
pub use step::Value;

use crate::ops::{Op, Reads};

/// A network of convolutions, written with a [`NetworkBuilder`]. Its convolutions say where gates
/// may sit ([`ConvRole`]); what is gated is up to the [`GatePlan`](crate::GatePlan).
#[derive(Debug, Clone)]
pub struct Network {
    /// Channels C of the images.
    channels: usize,
    steps: Vec<Step>,
}

impl Network {
    /// A network of `steps` on images of `channels` channels.
    pub(crate) fn new(channels: usize, steps: Vec<Step>) -> Network {
        Network { channels, steps }
    }

    /// A network of other steps on the same images.
    pub(crate) fn with_steps(&self, steps: Vec<Step>) -> Network {
        Network::new(self.channels, steps)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Channels C of the images (N, C, H, W).
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Shape (C, H, W) of each value for images of `size` (H, W): the images, then each step's
    /// output; vectors are (C, 1, 1).
    ///
    /// # Errors
    /// If images of this size do not fit; the error names the layer.
    pub(crate) fn shapes(&self, [h, w]: [usize; 2]) -> Result<Vec<[usize; 3]>> {
        let mut shapes = vec![[self.channels, h, w]];
        fits(shapes[0])?;
        for step in &self.steps {
            let shape = output_shape(&*step.op, &step.inputs, step.residual, &shapes);
            shapes.push(shape.map_err(|error| error.at(&step.name))?);
        }
        Ok(shapes)
    }

    /// Every convolution for images of `size` (H, W), in the order they run.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn convs(&self, size: [usize; 2]) -> Result<Vec<ConvSpec>> {
        let shapes = self.shapes(size)?;
        Ok(self.list_convs(|step| [shapes[step + 1][1], shapes[step + 1][2]]))
    }

    /// The convolutions with outputs of one pixel, for what does not depend on sizes.
    pub(crate) fn sizeless_convs(&self) -> Vec<ConvSpec> {
        self.list_convs(|_| [1, 1])
    }

    fn list_convs(&self, out_size: impl Fn(usize) -> [usize; 2]) -> Vec<ConvSpec> {
        let conv = |(at, step): (usize, &Step)| {
            let filters = step.op.filters()?;
            let source = self.source(step.inputs[0]);
            // A depthwise convolution names its source, whatever the role of that.
            let source = source.filter(|source| match filters.reads {
                Reads::All => source.role == ConvRole::Inner,
                Reads::Same => true,
            });
            Some(ConvSpec {
                name: step.name.clone(),
                in_channels: filters.channels,
                out_channels: filters.count,
                kernel: filters.kernel,
                out_size: out_size(at),
                role: step.role,
                reads: source.map(|source| source.name.clone()),
                depthwise: filters.reads == Reads::Same,
            })
        };
        self.steps.iter().enumerate().filter_map(conv).collect()
    }

    /// The convolution whose filters are the channels of `value`, if a single step reads the value.
    fn source(&self, value: usize) -> Option<&Step> {
        let step = &self.steps[value.checked_sub(1)?];
        let readers = self.steps.iter().flat_map(Step::reads).filter(|read| *read == value);
        if readers.count() > 1 {
            return None;
        }
        if step.op.filters().is_some() {
            return Some(step);
        }
        let keeps_zeros = step.op.keeps_zeros() && step.norm.is_none() && step.residual.is_none();
        if keeps_zeros { self.source(step.inputs[0]) } else { None }
    }

    /// MACs for one image of `size` (H, W) with every filter running: convolutions, linear layers,
    /// and one for each pixel of a global pool.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn macs(&self, size: [usize; 2]) -> Result<u64> {
        let shapes = self.shapes(size)?;
        let macs = |step: &Step| step.op.macs(&gather(&step.inputs, &shapes));
        Ok(self.steps.iter().map(macs).sum())
    }

    /// The fewest images of `size` (H, W) that a training batch may have: 2 if a batch norm would
    /// have a single value for each channel of one image, whose variance is 0; else 1.
    ///
    /// # Errors
    /// If images of this size do not fit.
    pub fn min_train_batch(&self, size: [usize; 2]) -> Result<usize> {
        let shapes = self.shapes(size)?;
        let of_one_value = self.steps.iter().zip(&shapes[1..]);
        let of_one_value =
            of_one_value.filter(|(step, [_, h, w])| step.norm.is_some() && h * w == 1);
        Ok(if of_one_value.count() > 0 { 2 } else { 1 })
    }

    /// Name of the linear layer that computes the output, if one does.
    pub(crate) fn head(&self) -> Option<&str> {
        let last = self.steps.last()?;
        let alone = last.norm.is_none() && last.residual.is_none() && !last.relu;
        (last.op.is_linear() && alone).then_some(&last.name)
    }

    /// Width of the output.
    #[must_use]
    pub fn features(&self) -> usize {
        self.steps.last().map_or(self.channels, |step| step.channels)
    }
}

/// Shape (C, H, W) of the output of a step of `op`, where `shapes` are those of the values before
/// it.
pub(crate) fn output_shape(
    op: &dyn Op,
    inputs: &[usize],
    residual: Option<usize>,
    shapes: &[[usize; 3]],
) -> Result<[usize; 3]> {
    let shape = op.shape(&gather(inputs, shapes))?;
    fits(shape)?;
    if let Some(residual) = residual.map(|value| shapes[value])
        && residual != shape
    {
        let rule = "a step and its residual must have one shape";
        return Err(Error::Shape { op: "sum", rule, got: format!("{shape:?} and {residual:?}") });
    }
    Ok(shape)
}

pub(crate) fn gather(inputs: &[usize], shapes: &[[usize; 3]]) -> Vec<[usize; 3]> {
    inputs.iter().map(|input| shapes[*input]).collect()
}

fn fits(shape: [usize; 3]) -> Result<()> {
    if Shape::from(shape).elements().is_some() {
        return Ok(());
    }
    let rule = "the values of one image must fit in the address space";
    Err(Error::Shape { op: "network", rule, got: format!("{shape:?}") })
}

impl Module for Network {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        for step in &self.steps {
            step.op.collect(&scoped(prefix, &step.name), out);
            if let Some((name, norm)) = &step.norm {
                norm.collect(&scoped(prefix, name), out);
            }
        }
    }
}
