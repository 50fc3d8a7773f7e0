//! The buffers of a step, made once for a batch size, so that a graph can be replayed on them.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;

use gaternet_core::nn::Linear;
use gaternet_kernels::cuda::layout::stride;
use gaternet_kernels::cuda::{Activation, CudaBuffer, CudaDevice};
use gaternet_kernels::{LinearDims, PlaneDims};

use super::error::{Error, Result};
use super::gates::Gates;
use super::value::{Map, Row};
use crate::gating::gated_net::GatedNet;

/// The buffers that a step will have.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Number of images N.
    pub(super) batch: usize,
    maps: Vec<usize>,
    rows: Vec<usize>,
    /// Length of the scratch buffer, which all kernels share: the most that one needs.
    pub(super) scratch: usize,
    /// The gated layers whose active filters are listed, with their numbers of filters.
    pub(super) lists: BTreeMap<usize, usize>,
}

impl Sizes {
    /// No buffers yet, for a batch.
    pub(super) fn new(batch: usize) -> Sizes {
        Sizes { batch, ..Sizes::default() }
    }

    /// Adds maps (C, H, W) of each image.
    pub(super) fn maps(&mut self, [channels, h, w]: [usize; 3]) -> Map {
        self.map(self.batch * h * w * stride(channels))
    }

    /// Adds vectors of this length, one for each image.
    pub(super) fn rows(&mut self, len: usize) -> Row {
        self.row(self.batch * len)
    }

    /// Dims of maps (C, H, W).
    pub(super) fn planes(&self, [channels, h, w]: [usize; 3]) -> PlaneDims {
        PlaneDims { batch: self.batch, channels, plane: h * w }
    }

    /// Dims of a linear layer.
    pub(super) fn linear(&self, linear: &Linear) -> LinearDims {
        let weight = linear.weight().shape();
        let [out_features, in_features] = [weight.dims()[0], weight.dims()[1]];
        LinearDims { batch: self.batch, in_features, out_features }
    }

    fn map(&mut self, len: usize) -> Map {
        self.maps.push(len);
        Map(self.maps.len() - 1)
    }

    fn row(&mut self, len: usize) -> Row {
        self.rows.push(len);
        Row(self.rows.len() - 1)
    }

    /// Adds maps as large as others.
    pub(super) fn like(&mut self, map: Map) -> Map {
        self.map(self.maps[map.0])
    }

    pub(super) fn row_like(&mut self, row: Row) -> Row {
        self.row(self.rows[row.0])
    }

    pub(super) fn need_scratch(&mut self, len: usize) {
        self.scratch = self.scratch.max(len);
    }
}

/// Every buffer of a step. No node reads what it writes, so a borrow that fails is a bug of the
/// builder.
#[derive(Debug)]
pub(super) struct Buffers<T> {
    pub(super) batch: usize,
    maps: Vec<RefCell<CudaBuffer<T>>>,
    rows: Vec<RefCell<CudaBuffer<f32>>>,
    scratch: RefCell<CudaBuffer<f32>>,
    pub(super) gates: Gates,
}

impl<T: Activation> Buffers<T> {
    /// Makes the buffers; `model` has the gates, if there are any.
    pub(super) fn new(
        device: &CudaDevice,
        batch: usize,
        sizes: &Sizes,
        model: Option<&GatedNet>,
    ) -> Result<Buffers<T>> {
        let row = |len: usize| Ok::<_, Error>(CudaBuffer::zeros(device, len)?.into());
        let map = |&len: &usize| Ok::<_, Error>(CudaBuffer::zeros(device, len)?.into());
        Ok(Buffers {
            batch,
            maps: sizes.maps.iter().map(map).collect::<Result<_>>()?,
            rows: sizes.rows.iter().map(|&len| row(len)).collect::<Result<_>>()?,
            scratch: row(sizes.scratch)?,
            gates: Gates::new(device, batch, model, &sizes.lists)?,
        })
    }

    pub(super) fn map(&self, map: Map) -> Ref<'_, CudaBuffer<T>> {
        self.maps[map.0].borrow()
    }

    pub(super) fn map_mut(&self, map: Map) -> RefMut<'_, CudaBuffer<T>> {
        self.maps[map.0].borrow_mut()
    }

    pub(super) fn row(&self, row: Row) -> Ref<'_, CudaBuffer<f32>> {
        self.rows[row.0].borrow()
    }

    pub(super) fn row_mut(&self, row: Row) -> RefMut<'_, CudaBuffer<f32>> {
        self.rows[row.0].borrow_mut()
    }

    pub(super) fn scratch(&self) -> RefMut<'_, CudaBuffer<f32>> {
        self.scratch.borrow_mut()
    }
}
