//! Exponential moving averages of parameters and statistics, which stay on the device from step to step.

use std::cell::{Cell, RefCell};

use gaternet_core::optim::Ema;
use gaternet_core::{Shape, Tensor};
use gaternet_kernels::cuda::{Activation, CudaBuffer, CudaDevice, ema};

use super::weights::{Layout, Weights};
use crate::cuda::Result;

#[derive(Debug)]
pub(super) struct Averages {
    kernel: RefCell<ema::Averages>,
    /// Of the values in an update.
    share: f32,
    entries: Vec<Entry>,
    /// Whether there has been an update.
    begun: Cell<bool>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    layout: Layout,
    shape: Shape,
    average: CudaBuffer<f32>,
}

impl Averages {
    /// Of what `weights` have of `ema`, from its averages on.
    pub(super) fn new<T: Activation>(
        device: &CudaDevice,
        weights: &Weights<T>,
        ema: &Ema,
    ) -> Result<Averages> {
        let (mut entries, mut values, mut begun) = (Vec::new(), Vec::new(), false);
        for (name, state, average) in ema.entries() {
            let Some((layout, shape, value)) = weights.value(state) else { continue };
            begun |= average.is_some();
            let average = match average {
                Some(average) => CudaBuffer::from_slice(device, &layout.pack(average.data()))?,
                None => CudaBuffer::zeros(device, value.len())?,
            };
            values.push(value);
            entries.push(Entry { name: name.to_owned(), layout, shape, average });
        }
        let pairs = values.iter().map(|value| &**value);
        let pairs = pairs.zip(entries.iter_mut().map(|entry| &mut entry.average));
        let kernel = ema::Averages::new(device, pairs)?.into();
        Ok(Averages { kernel, share: 1.0 - ema.decay(), entries, begun: begun.into() })
    }

    /// Takes in the present values. The first update copies them to the zeros that are there; it is of the first step of a
    /// program, which is never recorded.
    pub(super) fn update(&self) -> Result<()> {
        let share = if self.begun.replace(true) { self.share } else { 1.0 };
        Ok(self.kernel.borrow_mut().update(share)?)
    }

    /// Brings `ema` up to date, which has not seen the last `updates`.
    pub(super) fn store(&self, ema: &mut Ema, updates: usize) -> Result<()> {
        let average = |entry: &Entry| -> Result<(String, Tensor)> {
            let values = entry.layout.unpack(entry.average.to_vec()?);
            Ok((entry.name.clone(), Tensor::new(values, entry.shape.clone())?))
        };
        let done = self.entries.iter().map(average).collect::<Result<_>>()?;
        Ok(ema.update_with(updates, done)?)
    }
}
