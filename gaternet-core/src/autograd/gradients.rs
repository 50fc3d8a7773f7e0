//! The result of a backward pass.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::parameter::Parameter;
use crate::tensor::Tensor;

/// Gradients by parameter, leaf and retained tensor.
#[derive(Debug, Default)]
pub struct Gradients(HashMap<u64, Tensor>);

impl Gradients {
    /// The gradient of a parameter.
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if the loss does not depend on it.
    pub fn get(&self, parameter: &Parameter) -> Result<&Tensor> {
        self.0.get(&parameter.id()).ok_or_else(|| Error::MissingGradient {
            what: format!("a parameter of shape {}", parameter.tensor().shape()),
            rule: "the loss was not computed from it",
        })
    }

    /// The gradient of a leaf or of a tensor that was retained.
    ///
    /// # Errors
    /// [`Error::MissingGradient`] if the loss does not depend on it or it was not retained.
    pub fn of(&self, tensor: &Tensor) -> Result<&Tensor> {
        let found = tensor.node().and_then(|node| self.0.get(&node.id()));
        found.ok_or_else(|| Error::MissingGradient {
            what: format!("a tensor of shape {}", tensor.shape()),
            rule: if tensor.requires_grad() {
                "the loss was not computed from it, or it is an intermediate that was not retained"
            } else {
                "it is in no graph"
            },
        })
    }

    /// The gradient of a parameter, for writing.
    pub(crate) fn get_mut(&mut self, parameter: &Parameter) -> Option<&mut Tensor> {
        self.0.get_mut(&parameter.id())
    }

    pub(super) fn insert(&mut self, id: u64, gradient: Tensor) {
        self.0.insert(id, gradient);
    }
}
