//! A step of a network, as its op sees it on a GPU.

use gaternet_core::nn::Conv2d;
use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::layout::Rows;

use super::emit::{ConvStep, Emit, Rest};
use super::error::{Result, unsupported};
use super::maps::MapLayer;
use super::value::Value;
use crate::plan::Lists;

/// The access to launches with which an [`Op`](crate::Op) of this crate lowers itself.
pub struct CudaStep<'a> {
    pub(crate) inputs: Vec<Value>,
    /// Shape (C, H, W) of each input.
    pub(crate) shapes: Vec<[usize; 3]>,
    pub(crate) emit: &'a mut dyn Emit,
    pub(super) rest: Rest<'a>,
    pub(super) lists: Lists,
    pub(super) compact: bool,
}

impl CudaStep<'_> {
    /// Number of images N.
    pub(crate) fn batch(&self) -> usize {
        self.emit.batch()
    }

    /// Returns the error that there is no kernel for this.
    ///
    /// # Errors
    /// [`Error::Unsupported`](super::Error::Unsupported), always.
    pub fn refuse<T>(&self, what: &str) -> Result<T> {
        unsupported(format!("{}{what}", self.emit.purpose()))
    }

    pub(crate) fn conv(&mut self, conv: &Conv2d, dims: Conv2dDims) -> Result<Value> {
        let (x, active) = match self.inputs[0] {
            Value::Map(x) => (x, None),
            Value::Active(x, layer) => (x, Some(layer)),
            Value::Row(_) => return unsupported("convolutions of vectors"),
        };
        let rows = if self.lists.channels.is_some() { Rows::Channels } else { Rows::Filters };
        let [h, w] = dims.out_size();
        let (shape, lists, compact) = ([dims.out_channels(), h, w], self.lists, self.compact);
        let conv = ConvStep { conv, dims, rows, x, active, lists, compact, shape };
        self.emit.conv(conv, &mut self.rest)
    }

    /// Emits a layer of maps, which messages call `name`.
    pub(crate) fn map(&mut self, layer: MapLayer, name: &str) -> Result<Value> {
        match self.inputs[0] {
            Value::Map(x) => Ok(Value::Map(self.emit.map(layer, x, self.shapes[0]))),
            _ => self.refuse(&format!("{name} of vectors")),
        }
    }
}
