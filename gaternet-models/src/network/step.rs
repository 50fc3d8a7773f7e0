//! The steps of a network.

use std::sync::Arc;

use gaternet_core::nn::BatchNorm2d;

use super::conv_spec::ConvRole;
use crate::ops::Op;

/// Something that a network computes: value 0 is the images, value i + 1 the output of step i. It
/// belongs to the builder that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value {
    pub(crate) number: usize,
    /// Id of the builder that made it.
    pub(crate) builder: u64,
}

/// A step `relu(norm(op(inputs)) + residual)`; norm, residual and ReLU are optional.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// State-dict name of the op, or `step` and a number for one without state.
    pub(crate) name: String,
    pub(crate) op: Arc<dyn Op>,
    /// Numbers of the values that the op takes, at least one.
    pub(crate) inputs: Vec<usize>,
    /// Batch norm and its state-dict name.
    pub(crate) norm: Option<(String, BatchNorm2d)>,
    pub(crate) residual: Option<usize>,
    pub(crate) relu: bool,
    pub(crate) role: ConvRole,
    /// Number among the steps whose op has filters, if it has any.
    pub(crate) number: Option<usize>,
    /// Channels C of the output.
    pub(crate) channels: usize,
}

impl Step {
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().copied().chain(self.residual)
    }
}
