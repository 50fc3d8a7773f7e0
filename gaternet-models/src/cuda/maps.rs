//! Layers of maps without parameters, which training and inference have alike.

use gaternet_kernels::cuda::{
    Activation, CudaBuffer, Stream, avg_pool2d, concat, max_pool2d, pad, shake_shake,
};
use gaternet_kernels::{PadDims, PlaneDims, PoolDims};

use super::error::Result;

/// A layer from a map to a map.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MapLayer {
    /// Average pooling.
    AvgPool(PoolDims),
    /// Max pooling.
    MaxPool(PoolDims),
    /// Padding with zeros, or cropping.
    Pad(PadDims),
}

impl MapLayer {
    /// Size (H, W) of the result.
    pub(super) fn out_size(&self) -> [usize; 2] {
        match self {
            MapLayer::AvgPool(dims) | MapLayer::MaxPool(dims) => dims.out_size(),
            MapLayer::Pad(dims) => dims.out_size(),
        }
    }

    pub(super) fn forward<T: Activation>(
        &self,
        batch: usize,
        x: &CudaBuffer<T>,
        y: &mut CudaBuffer<T>,
    ) -> Result<()> {
        let launched = match self {
            MapLayer::AvgPool(dims) => avg_pool2d::forward(dims, x, y),
            MapLayer::MaxPool(dims) => max_pool2d::forward(dims, x, y),
            MapLayer::Pad(dims) => pad::forward(batch, dims, x, y),
        };
        Ok(launched?)
    }

    pub(super) fn backward<T: Activation>(
        &self,
        batch: usize,
        x: &CudaBuffer<T>,
        grad_y: &CudaBuffer<T>,
        grad_x: &mut CudaBuffer<T>,
    ) -> Result<()> {
        let launched = match self {
            MapLayer::AvgPool(dims) => avg_pool2d::backward(dims, grad_y, grad_x),
            MapLayer::MaxPool(dims) => max_pool2d::backward(dims, x, grad_y, grad_x),
            MapLayer::Pad(dims) => pad::forward(batch, &dims.inverse(), grad_y, grad_x),
        };
        Ok(launched?)
    }
}

/// A layer from two maps to one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PairLayer {
    /// Concatenation of channels.
    Concat {
        /// Number of channels of the first map.
        first: usize,
    },
    /// The mean of two maps, with random weights in training (Shake-Shake).
    Mix,
}

impl PairLayer {
    /// Whether it draws random numbers in training.
    pub(super) fn draws(&self) -> bool {
        matches!(self, PairLayer::Mix)
    }

    /// Dims of both maps, if `dims` are those of the result.
    pub(super) fn parts(&self, dims: PlaneDims) -> [PlaneDims; 2] {
        match *self {
            PairLayer::Concat { first } => {
                [first, dims.channels - first].map(|channels| PlaneDims { channels, ..dims })
            }
            PairLayer::Mix => [dims; 2],
        }
    }

    /// Runs the layer; without a stream, the weights of [`Mix`](Self::Mix) are halves.
    pub(super) fn forward<T: Activation>(
        &self,
        dims: PlaneDims,
        stream: Option<Stream<'_>>,
        parts: [&CudaBuffer<T>; 2],
        y: &mut CudaBuffer<T>,
    ) -> Result<()> {
        let launched = match *self {
            PairLayer::Concat { first } => concat::forward(dims, first, parts, y),
            PairLayer::Mix => shake_shake::forward(dims, stream, parts, y),
        };
        Ok(launched?)
    }

    pub(super) fn backward<T: Activation>(
        &self,
        dims: PlaneDims,
        stream: Option<Stream<'_>>,
        grad_y: &CudaBuffer<T>,
        [grad_a, grad_b]: [&mut CudaBuffer<T>; 2],
    ) -> Result<()> {
        let launched = match *self {
            PairLayer::Concat { first } => {
                let [of_a, of_b] = self.parts(dims);
                concat::split(of_a, 0, dims.channels, grad_y, grad_a)?;
                concat::split(of_b, first, dims.channels, grad_y, grad_b)
            }
            PairLayer::Mix => shake_shake::backward(dims, stream, grad_y, [grad_a, grad_b]),
        };
        Ok(launched?)
    }
}
