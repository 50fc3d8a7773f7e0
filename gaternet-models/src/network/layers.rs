//! The layers of this crate, as a builder adds them.

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
    /// A convolution with `filters` filters of `kernel` x `kernel`, stride 1, a border of half a kernel,
    /// no gates and nothing after it, unless the builder it returns is told so.
    pub fn conv(
        &mut self,
        name: impl Into<String>,
        input: Value,
        filters: usize,
        kernel: usize,
    ) -> ConvBuilder<'_> {
        ConvBuilder::new(self, name.into(), input, filters, kernel)
    }

    /// An [`Op`] of a program's own on these inputs; `name` is what its parameters' names begin with
    /// in the state dict.
    pub fn op(
        &mut self,
        name: impl Into<String>,
        op: impl Op + 'static,
        inputs: &[Value],
    ) -> OpBuilder<'_> {
        OpBuilder::new(self, name.into(), Arc::new(op), inputs)
    }

    /// `relu(bn(input))`, for a batch norm that follows no convolution.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] if it cannot be added.
    pub fn batch_norm_relu(&mut self, name: impl Into<String>, input: Value) -> Result<Value> {
        self.push_batch_norm(name.into(), input, true)
    }

    /// `bn(input)`, for a batch norm that follows no convolution.
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

    /// (N, C) -> (N, features).
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] if one of them is 0, or the input are maps.
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

    /// `max(0, input)`.
    pub fn relu(&mut self, input: Value) -> Value {
        self.sum(input, Rest { relu: true, ..Rest::default() })
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.sum(a, Rest { residual: Some(b), ..Rest::default() })
    }

    /// `max(0, a + b)`.
    pub fn add_relu(&mut self, a: Value, b: Value) -> Value {
        self.sum(a, Rest { residual: Some(b), relu: true, ..Rest::default() })
    }

    fn sum(&mut self, input: Value, rest: Rest) -> Value {
        let added = self.push(None, Arc::new(Identity), &[input], rest);
        self.or_later(added)
    }

    /// The largest value of each window.
    pub fn max_pool(&mut self, input: Value, options: Pool2dOptions) -> Value {
        self.unnamed(MaxPool2d(options), &[input])
    }

    /// The mean of each window.
    pub fn avg_pool(&mut self, input: Value, options: Pool2dOptions) -> Value {
        self.unnamed(AvgPool2d(options), &[input])
    }

    /// (N, C, H, W) -> (N, C), the mean of each map.
    pub fn global_avg_pool(&mut self, input: Value) -> Value {
        self.unnamed(GlobalAvgPool, &[input])
    }

    /// Zeros (left, right, top, bottom) around each map; negative numbers crop.
    pub fn pad(&mut self, input: Value, padding: [isize; 4]) -> Value {
        self.unnamed(Pad(padding), &[input])
    }

    /// The channels of all inputs, in their order.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] if there is no input, or their sizes differ.
    pub fn concat(&mut self, inputs: &[Value]) -> Result<Value> {
        self.push(None, Arc::new(Concat), inputs, Rest::default())
    }

    /// `1 / (1 + exp(-input))`.
    pub fn sigmoid(&mut self, input: Value) -> Value {
        self.unnamed(Sigmoid, &[input])
    }

    /// Maps (N, C, H, W) times `factors` (N, C), as in squeeze-and-excitation.
    pub fn scale_channels(&mut self, maps: Value, factors: Value) -> Value {
        self.unnamed(ScaleChannels, &[maps, factors])
    }

    /// In training, zeros with probability `p`; see [`gaternet_core::ops::dropout`].
    pub fn dropout(&mut self, input: Value, p: f32) -> Value {
        self.unnamed(Dropout(p), &[input])
    }

    /// A mean of two branches, with random weights in training; see [`gaternet_core::ops::shake_shake`].
    pub fn shake_shake(&mut self, a: Value, b: Value) -> Value {
        self.unnamed(ShakeShake, &[a, b])
    }

    fn unnamed(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Value {
        let added = self.push(None, Arc::new(op), inputs, Rest::default());
        self.or_later(added)
    }
}
