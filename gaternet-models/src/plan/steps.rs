//! A network as a flat list of steps: written by the network, compiled by `program.rs`.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear};
use gaternet_core::{Error, Result};
use gaternet_kernels::Conv2dDims;

/// An activation: value 0 is the input, value i + 1 the output of step i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value(pub(super) usize);

/// What a step computes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layer<'a> {
    /// With the batch norm that follows, if one does.
    Conv {
        conv: &'a Conv2d,
        bn: Option<&'a BatchNorm2d>,
        dims: Conv2dDims,
        /// Its number in the network's list of convolutions, which its gate plan is made of.
        number: usize,
    },
    /// One that follows no convolution.
    BatchNorm(&'a BatchNorm2d),
    GlobalAvgPool,
    Linear(&'a Linear),
}

/// `relu(layer(input) + residual)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) input: Value,
    pub(super) residual: Option<Value>,
    pub(super) relu: bool,
}

/// The steps of a network, in the order they run.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    pub(super) steps: Vec<Step<'a>>,
    /// (C, H, W) of each value.
    pub(super) shapes: Vec<[usize; 3]>,
}

impl<'a> Steps<'a> {
    /// None yet, and the input they start from: images (C, H, W).
    pub(crate) fn new(image: [usize; 3]) -> (Steps<'a>, Value) {
        (Steps { steps: Vec::new(), shapes: vec![image] }, Value(0))
    }

    /// `relu(bn(conv(input)) + residual)`, as far as these are there; the convolution has this number in the
    /// gate plan.
    ///
    /// # Errors
    /// [`Error::Kernel`] if the convolution does not fit the input.
    pub(crate) fn conv(
        &mut self,
        number: usize,
        (conv, bn): (&'a Conv2d, Option<&'a BatchNorm2d>),
        input: Value,
        residual: Option<Value>,
        relu: bool,
    ) -> Result<Value> {
        let [channels, h, w] = self.shapes[input.0];
        let options = conv.options();
        let dims =
            Conv2dDims::new([1, channels, h, w], conv.shape(), options.stride, options.padding)?;
        let [oh, ow] = dims.out_size();
        let layer = Layer::Conv { conv, bn, dims, number };
        let step = Step { layer, input, residual, relu };
        Ok(self.push(step, [dims.out_channels(), oh, ow]))
    }

    /// `relu(bn(input))`.
    pub(crate) fn batch_norm(&mut self, bn: &'a BatchNorm2d, input: Value, relu: bool) -> Value {
        let step = Step { layer: Layer::BatchNorm(bn), input, residual: None, relu };
        self.push(step, self.shapes[input.0])
    }

    /// (C, H, W) -> (C).
    pub(crate) fn global_avg_pool(&mut self, input: Value) -> Value {
        let [channels, ..] = self.shapes[input.0];
        let step = Step { layer: Layer::GlobalAvgPool, input, residual: None, relu: false };
        self.push(step, [channels, 1, 1])
    }

    /// `relu(linear(input))`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the layer is for another number of features.
    pub(crate) fn linear(&mut self, linear: &'a Linear, input: Value, relu: bool) -> Result<Value> {
        let weight = linear.weight().tensor();
        let features: usize = self.shapes[input.0].iter().product();
        let [out, of] = [weight.dims()[0], weight.dims()[1]];
        if of != features {
            return Err(Error::Shape {
                op: "inference plan",
                rule: "a linear layer must be for the features it gets",
                got: format!("({out}, {of}) for {features}"),
            });
        }
        let step = Step { layer: Layer::Linear(linear), input, residual: None, relu };
        Ok(self.push(step, [out, 1, 1]))
    }

    fn push(&mut self, step: Step<'a>, shape: [usize; 3]) -> Value {
        self.steps.push(step);
        self.shapes.push(shape);
        Value(self.steps.len())
    }
}
