//! Layers of maps without parameters, forward and backward.

use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::{Activation, Clock, Stream, dropout};

use super::sum::{Grads, Sum};
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Sizes};
use crate::cuda::maps::{MapLayer, PairLayer};
use crate::cuda::value::Map;

/// The layer of a [`MapNode`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Pass {
    /// Dropout with probability p, by the random stream of this number.
    Dropout {
        p: f32,
        stream: u32,
    },
    Layer(MapLayer),
}

/// A node that makes a map of one.
#[derive(Debug)]
pub(super) struct MapNode {
    pub(super) pass: Pass,
    /// Dims of x.
    pub(super) dims: PlaneDims,
    pub(super) x: Map,
    pub(super) y: Map,
    pub(super) backward: Option<MapBackward>,
}

/// The places of the gradients.
#[derive(Debug)]
pub(super) struct MapBackward {
    grad_y: Map,
    grad_x: Map,
    sum: Option<Sum>,
}

impl MapNode {
    /// Gives the gradients their places; if x is `constant` it needs none.
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, grads: &mut Grads, constant: bool) {
        let Some(grad_y) = grads.dense(self.y).filter(|_| !constant) else { return };
        let grad_x = sizes.like(self.x);
        let sum = grads.add(sizes, self.dims, self.x, grad_x);
        self.backward = Some(MapBackward { grad_y, grad_x, sum });
    }

    pub(super) fn forward<T: Activation>(&self, buffers: &Buffers<T>, clock: &Clock) -> Result<()> {
        let (x, mut y) = (buffers.map(self.x), buffers.map_mut(self.y));
        match self.pass {
            Pass::Dropout { p, stream: number } => {
                Ok(dropout::mask(self.dims, p, Stream { clock, number }, &x, &mut y)?)
            }
            Pass::Layer(layer) => layer.forward(buffers.batch, &x, &mut y),
        }
    }

    pub(super) fn backward<T: Activation>(
        &self,
        buffers: &Buffers<T>,
        clock: &Clock,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        {
            let (grad_y, mut grad_x) =
                (buffers.map(backward.grad_y), buffers.map_mut(backward.grad_x));
            match self.pass {
                // The mask is drawn again.
                Pass::Dropout { p, stream: number } => {
                    dropout::mask(self.dims, p, Stream { clock, number }, &grad_y, &mut grad_x)?;
                }
                Pass::Layer(layer) => {
                    layer.backward(buffers.batch, &buffers.map(self.x), &grad_y, &mut grad_x)?;
                }
            }
        }
        backward.sum.map_or(Ok(()), |sum| sum.run(buffers))
    }
}

/// A node that makes a map of two.
#[derive(Debug)]
pub(super) struct PairNode {
    pub(super) layer: PairLayer,
    /// Number of the random stream of the layer, if it draws.
    pub(super) stream: Option<u32>,
    /// Dims of y.
    pub(super) dims: PlaneDims,
    pub(super) parts: [Map; 2],
    pub(super) y: Map,
    pub(super) backward: Option<PairBackward>,
}

/// The places of the gradients.
#[derive(Debug)]
pub(super) struct PairBackward {
    grad_y: Map,
    grads: [Map; 2],
    sums: [Option<Sum>; 2],
}

impl PairNode {
    pub(super) fn plan_backward(&mut self, sizes: &mut Sizes, grads: &mut Grads) {
        let Some(grad_y) = grads.dense(self.y) else { return };
        let of_parts = self.parts.map(|part| sizes.like(part));
        let dims = self.layer.parts(self.dims);
        let sums = [0, 1].map(|i| grads.add(sizes, dims[i], self.parts[i], of_parts[i]));
        self.backward = Some(PairBackward { grad_y, grads: of_parts, sums });
    }

    pub(super) fn forward<T: Activation>(&self, buffers: &Buffers<T>, clock: &Clock) -> Result<()> {
        let ([a, b], mut y) = (self.parts.map(|part| buffers.map(part)), buffers.map_mut(self.y));
        self.layer.forward(self.dims, self.stream(clock), [&a, &b], &mut y)
    }

    pub(super) fn backward<T: Activation>(
        &self,
        buffers: &Buffers<T>,
        clock: &Clock,
    ) -> Result<()> {
        let Some(backward) = &self.backward else { return Ok(()) };
        {
            let grad_y = buffers.map(backward.grad_y);
            let [mut a, mut b] = backward.grads.map(|to| buffers.map_mut(to));
            self.layer.backward(self.dims, self.stream(clock), &grad_y, [&mut a, &mut b])?;
        }
        backward.sums.iter().flatten().try_for_each(|sum| sum.run(buffers))
    }

    fn stream<'a>(&self, clock: &'a Clock) -> Option<Stream<'a>> {
        self.stream.map(|number| Stream { clock, number })
    }
}
