//! Layers of maps that have no parameter, as training and inference have them alike.

use gaternet_kernels::cpu::pad::PadDims;
use gaternet_kernels::cuda::{Activation, CudaBuffer, Stream, concat, mix, pad, pool2d};
use gaternet_kernels::{PlaneDims, PoolDims};

use super::error::Result;

/// From a map to a map.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MapLayer {
    /// Means of windows.
    AvgPool(PoolDims),
    /// Largest values of windows.
    MaxPool(PoolDims),
    /// Zeros around, or what is cut off.
    Pad(PadDims),
}

impl MapLayer {
    /// (H, W) of the result.
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
            MapLayer::AvgPool(dims) => pool2d::avg_forward(dims, x, y),
            MapLayer::MaxPool(dims) => pool2d::max_forward(dims, x, y),
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
            MapLayer::AvgPool(dims) => pool2d::avg_backward(dims, grad_y, grad_x),
            MapLayer::MaxPool(dims) => pool2d::max_backward(dims, x, grad_y, grad_x),
            MapLayer::Pad(dims) => pad::forward(batch, &dims.inverse(), grad_y, grad_x),
        };
        Ok(launched?)
    }
}

/// From two maps to one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PairLayer {
    /// Side by side.
    Concat {
        /// Channels of the first.
        first: usize,
    },
    /// Shake-Shake.
    Mix,
}

impl PairLayer {
    /// Whether it draws random numbers in training.
    pub(super) fn draws(&self) -> bool {
        matches!(self, PairLayer::Mix)
    }

    /// Sizes of both, if these are the result's.
    pub(super) fn parts(&self, dims: PlaneDims) -> [PlaneDims; 2] {
        match *self {
            PairLayer::Concat { first } => {
                [first, dims.channels - first].map(|channels| PlaneDims { channels, ..dims })
            }
            PairLayer::Mix => [dims; 2],
        }
    }

    /// Without a stream, the weights of a mix are halves.
    pub(super) fn forward<T: Activation>(
        &self,
        dims: PlaneDims,
        stream: Option<Stream<'_>>,
        parts: [&CudaBuffer<T>; 2],
        y: &mut CudaBuffer<T>,
    ) -> Result<()> {
        let launched = match *self {
            PairLayer::Concat { first } => concat::join(dims, first, parts, y),
            PairLayer::Mix => mix::forward(dims, stream, parts, y),
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
                concat::range(of_a, 0, dims.channels, grad_y, grad_a)?;
                concat::range(of_b, first, dims.channels, grad_y, grad_b)
            }
            PairLayer::Mix => mix::backward(dims, stream, grad_y, [grad_a, grad_b]),
        };
        Ok(launched?)
    }
}
