//! A step of a network, as its op sees it in an ONNX graph.

use gaternet_core::nn::BatchNorm2d;
use gaternet_core::{Error, Result};

use super::graph::{Attribute, Graph};

/// The access to the graph with which an [`Op`](crate::Op) of this crate writes its nodes.
pub struct OnnxStep<'a> {
    pub(super) graph: &'a mut Graph,
    /// Name of the node, with which the names of its weights begin.
    pub(super) name: String,
    pub(super) inputs: Vec<String>,
    /// The batch norm that follows, until the op takes it.
    pub(super) norm: Option<&'a BatchNorm2d>,
}

impl<'a> OnnxStep<'a> {
    /// Returns the error that there is no node for this.
    ///
    /// # Errors
    /// [`Error::Config`], always.
    pub fn refuse<T>(&self, what: &str) -> Result<T> {
        let rule = "there is no ONNX node for this op";
        Err(Error::Config { field: "op", value: what.to_owned(), rule })
    }

    pub(crate) fn take_norm(&mut self) -> Option<&'a BatchNorm2d> {
        self.norm.take()
    }

    pub(crate) fn input(&self, number: usize) -> String {
        self.inputs[number].clone()
    }

    pub(crate) fn inputs(&self) -> Vec<String> {
        self.inputs.clone()
    }

    /// Adds f32 values that are stored in the file.
    pub(crate) fn floats(&mut self, part: &str, shape: &[usize], values: &[f32]) -> String {
        let name = self.name_of(part);
        self.graph.floats(&name, shape, values)
    }

    /// Adds a list of i64 values that is stored in the file.
    pub(crate) fn ints(&mut self, part: &str, values: &[i64]) -> String {
        let name = self.name_of(part);
        self.graph.ints(&name, values)
    }

    /// Adds the node of the op itself and returns its output.
    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: impl Into<Vec<String>>,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> String {
        self.graph.node(op, &self.name, inputs, attributes)
    }

    /// Adds a node before or after the op's own.
    pub(crate) fn part(&mut self, part: &str, op: &str, inputs: impl Into<Vec<String>>) -> String {
        let name = self.name_of(part);
        self.graph.node(op, &name, inputs, [])
    }

    /// Adds the reshaping (N, C) -> (N, C, 1, 1), whose result multiplies feature maps.
    pub(crate) fn planes(&mut self, part: &str, values: String) -> String {
        let name = self.name_of(part);
        self.graph.planes(&name, values)
    }

    fn name_of(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }
}
