//! Builders of a step whose op is a convolution or an op of a program's own.

use std::sync::Arc;

use gaternet_core::Result;
use gaternet_core::ops::Conv2dOptions;

use super::builder::{NetworkBuilder, Rest, inner_error};
use super::conv_spec::ConvRole;
use super::step::Value;
use crate::ops::Op;

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
    rest: Rest,
}

/// An [`Op`] about to be added to a network.
#[derive(Debug)]
#[must_use = "`done` adds it"]
pub struct OpBuilder<'a> {
    net: &'a mut NetworkBuilder,
    name: String,
    op: Arc<dyn Op>,
    inputs: Vec<Value>,
    rest: Rest,
}

/// Writes the methods for what follows the op of a step: they are the same for both builders.
macro_rules! rest {
    ($builder:ident) => {
        impl $builder<'_> {
            /// Appends a batch norm.
            pub fn batch_norm(mut self, name: impl Into<String>) -> Self {
                self.rest.norm = Some(name.into());
                self
            }

            /// Adds a value of the same shape, after batch norm and gates.
            pub fn residual(mut self, value: Value) -> Self {
                self.rest.residual = Some(value);
                self
            }

            /// Appends a ReLU, the last thing the step does.
            pub fn relu(mut self) -> Self {
                self.rest.relu = true;
                self
            }

            /// Sets which placements gate it; [`ConvRole::Ungated`] by default.
            pub fn role(mut self, role: ConvRole) -> Self {
                self.rest.role = role;
                self
            }
        }
    };
}

rest!(ConvBuilder);
rest!(OpBuilder);

impl<'a> ConvBuilder<'a> {
    pub(super) fn new(
        net: &'a mut NetworkBuilder,
        name: String,
        input: Value,
        filters: usize,
        kernel: usize,
    ) -> ConvBuilder<'a> {
        let (stride, padding, rest) = (1, kernel / 2, Rest::default());
        ConvBuilder { net, name, input, filters, kernel, stride, padding, rest }
    }

    /// Sets the stride of the kernel in both directions; 1 by default.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the border of zeros on each side; half a kernel by default.
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// Adds the step to the network and returns its output.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] with the layer's name, if a size is 0, the name is taken, a
    /// value is not of this builder, or the residual has another shape.
    pub fn done(self) -> Result<Value> {
        let ConvBuilder { net, name, input, mut filters, kernel, stride, padding, rest } = self;
        if let (ConvRole::Inner, Some(given)) = (rest.role, &mut net.inner_filters) {
            let all = filters;
            filters = given.pop().ok_or_else(|| inner_error(format!("none for {name}")))?;
            if filters > all {
                return Err(inner_error(format!("{filters} of {all} for {name}")));
            }
        }
        let options = Conv2dOptions::square(stride, padding);
        net.check(input).map_err(|error| error.at(&name))?;
        let channels = net.channels(input);
        let conv = net.weights.conv(channels, filters, kernel, options);
        net.push(
            Some(name.clone()),
            Arc::new(conv.map_err(|error| error.at(&name))?),
            &[input],
            rest,
        )
    }
}

impl<'a> OpBuilder<'a> {
    pub(super) fn new(
        net: &'a mut NetworkBuilder,
        name: String,
        op: Arc<dyn Op>,
        inputs: &[Value],
    ) -> OpBuilder<'a> {
        OpBuilder { net, name, op, inputs: inputs.to_vec(), rest: Rest::default() }
    }

    /// Adds the step to the network and returns its output.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Layer`] with the layer's name, if the op refuses the shapes of its
    /// inputs, the name is taken, a value is not of this builder, or the residual has another
    /// shape.
    pub fn done(self) -> Result<Value> {
        let OpBuilder { net, name, op, inputs, rest } = self;
        net.push(Some(name), op, &inputs, rest)
    }
}
