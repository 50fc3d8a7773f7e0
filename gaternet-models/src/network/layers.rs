//! The calls of a [`NetworkBuilder`] that add the layers of this crate.

use std::sync::Arc;

use gaternet_core::Result;
use gaternet_core::ops::Pool2dOptions;

use super::builder::{NetworkBuilder, Rest};
use super::conv_builder::{ConvBuilder, OpBuilder};
use super::step::Value;
use crate::ops::{
    AvgPool2d, Concat, Dropout, GlobalAvgPool, Identity, MaxPool2d, Op, Pad, ScaleChannels,
    ShakeShake, Sigmoid,
};

impl NetworkBuilder {
    /// Adds a convolution with `filters` filters of `kernel` x `kernel`, stride 1, a border of half
    /// a kernel, no gates and nothing after it, unless the returned builder changes that.
    pub fn conv(
        &mut self,
        name: impl Into<String>,
        input: Value,
        filters: usize,
        kernel: usize,
    ) -> ConvBuilder<'_> {
        ConvBuilder::new(self, name.into(), input, filters, kernel)
    }

    /// Adds an [`Op`] of a program's own on these inputs; `name` begins the names of its parameters
    /// in the state dict.
    pub fn op(
        &mut self,
        name: impl Into<String>,
        op: impl Op + 'static,
        inputs: &[Value],
    ) -> OpBuilder<'_> {
        OpBuilder::new(self, name.into(), Arc::new(op), inputs)
    }

    /// Adds `relu(bn(input))`, for a batch norm that follows no convolution.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] if it cannot be added.
    pub fn batch_norm_relu(&mut self, name: impl Into<String>, input: Value) -> Result<Value> {
        self.push_batch_norm(name.into(), input, true)
    }

    /// Adds `bn(input)`, for a batch norm that follows no convolution.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] if it cannot be added.
    pub fn batch_norm(&mut self, name: impl Into<String>, input: Value) -> Result<Value> {
        self.push_batch_norm(name.into(), input, false)
    }

    fn push_batch_norm(&mut self, name: String, input: Value, relu: bool) -> Result<Value> {
        let rest = Rest { norm: Some(name.clone()), relu, ..Rest::default() };
        self.push(Some(name), Arc::new(Identity), &[input], rest)
    }

    /// Adds a fully connected layer, (N, C) -> (N, features).
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] if a size is 0, or the input is feature maps.
    pub fn linear(
        &mut self,
        name: impl Into<String>,
        input: Value,
        features: usize,
    ) -> Result<Value> {
        let name = name.into();
        self.check(input).map_err(|error| error.at(&name))?;
        let linear = self.weights.linear(self.channels(input), features);
        let linear = linear.map_err(|error| error.at(&name))?;
        self.push(Some(name), Arc::new(linear), &[input], Rest::default())
    }

    /// Adds a ReLU, `max(0, input)`.
    pub fn relu(&mut self, input: Value) -> Value {
        self.sum(input, Rest { relu: true, ..Rest::default() })
    }

    /// Adds the sum `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.sum(a, Rest { residual: Some(b), ..Rest::default() })
    }

    /// Adds `max(0, a + b)`.
    pub fn add_relu(&mut self, a: Value, b: Value) -> Value {
        self.sum(a, Rest { residual: Some(b), relu: true, ..Rest::default() })
    }

    fn sum(&mut self, input: Value, rest: Rest) -> Value {
        let added = self.push(None, Arc::new(Identity), &[input], rest);
        self.or_later(added)
    }

    /// Adds max pooling: the largest value of each window.
    pub fn max_pool(&mut self, input: Value, options: Pool2dOptions) -> Value {
        self.unnamed(MaxPool2d(options), &[input])
    }

    /// Adds average pooling: the mean of each window, the zeros of its border included.
    pub fn avg_pool(&mut self, input: Value, options: Pool2dOptions) -> Value {
        self.unnamed(AvgPool2d(options), &[input])
    }

    /// Adds global average pooling, (N, C, H, W) -> (N, C): the mean of each feature map.
    pub fn global_avg_pool(&mut self, input: Value) -> Value {
        self.unnamed(GlobalAvgPool, &[input])
    }

    /// Adds zeros (left, right, top, bottom) around each feature map; negative numbers crop.
    pub fn pad(&mut self, input: Value, padding: [isize; 4]) -> Value {
        self.unnamed(Pad(padding), &[input])
    }

    /// Puts the channels of all inputs side by side, in the order of the inputs.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] if there is no input, or their sizes differ.
    pub fn concat(&mut self, inputs: &[Value]) -> Result<Value> {
        self.push(None, Arc::new(Concat), inputs, Rest::default())
    }

    /// Adds a sigmoid, `1 / (1 + exp(-input))`.
    pub fn sigmoid(&mut self, input: Value) -> Value {
        self.unnamed(Sigmoid, &[input])
    }

    /// Multiplies feature maps (N, C, H, W) by `factors` (N, C), as in squeeze-and-excitation.
    pub fn scale_channels(&mut self, maps: Value, factors: Value) -> Value {
        self.unnamed(ScaleChannels, &[maps, factors])
    }

    /// Sets values to 0 with probability `p` in training; see [`gaternet_core::ops::dropout`].
    pub fn dropout(&mut self, input: Value, p: f32) -> Value {
        self.unnamed(Dropout(p), &[input])
    }

    /// Adds a mean of two branches, with random weights in training; see
    /// [`gaternet_core::ops::shake_shake`].
    pub fn shake_shake(&mut self, a: Value, b: Value) -> Value {
        self.unnamed(ShakeShake, &[a, b])
    }

    fn unnamed(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Value {
        let added = self.push(None, Arc::new(op), inputs, Rest::default());
        self.or_later(added)
    }
}
