//! Exponential moving averages of parameters and statistics, which stay on the device from step to
//! step.

use std::cell::RefCell;

use gaternet_core::optim::Ema;
use gaternet_core::{Shape, Tensor};
use gaternet_kernels::cuda::{Activation, Clock, CudaBuffer, CudaDevice, PerStep, ema};

use super::weights::{Layout, Weights};
use crate::cuda::Result;

#[derive(Debug)]
pub(super) struct Averages {
    kernel: RefCell<ema::Averages>,
    entries: Vec<Entry>,
    /// A clock whose step is the number of updates made: averages can begin after the training did.
    updates: RefCell<Clock>,
    /// Fraction of the new values in each update, up to the last that differs from those after it.
    fractions: CudaBuffer<f32>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    layout: Layout,
    shape: Shape,
    average: CudaBuffer<f32>,
}

impl Averages {
    /// Averages what `weights` have of `ema`, from its averages on, for `steps` more updates.
    pub(super) fn new<T: Activation>(
        device: &CudaDevice,
        weights: &Weights<T>,
        ema: &Ema,
        steps: usize,
    ) -> Result<Averages> {
        let (mut entries, mut values) = (Vec::new(), Vec::new());
        for (name, state, average) in ema.entries() {
            let Some((layout, shape, value)) = weights.value(state) else { continue };
            let average = match average {
                Some(average) => CudaBuffer::from_slice(device, &layout.pack(average.data()))?,
                // The fraction of the first update is 1.
                None => CudaBuffer::zeros(device, value.len())?,
            };
            values.push(value);
            entries.push(Entry { name: name.to_owned(), layout, shape, average });
        }
        let pairs = values.iter().map(|value| &**value);
        let pairs = pairs.zip(entries.iter_mut().map(|entry| &mut entry.average));
        let kernel = ema::Averages::new(device, pairs)?.into();
        let updates = Clock::new(device, 0, ema.updates() as u64)?.into();
        let fractions = CudaBuffer::from_slice(device, &fractions(ema, steps))?;
        Ok(Averages { kernel, entries, updates, fractions })
    }

    /// Takes in the present values.
    pub(super) fn update(&self) -> Result<()> {
        let mut clock = self.updates.borrow_mut();
        self.kernel.borrow_mut().update(PerStep { clock: &clock, values: &self.fractions })?;
        Ok(clock.advance()?)
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

/// The fraction of each update, of those made and `steps` more; ends with the first that all after
/// it have.
fn fractions(ema: &Ema, steps: usize) -> Vec<f32> {
    let all = (0..(ema.updates() + steps).max(1)).map(|update| ema.fraction(update));
    let (mut fractions, last) = (Vec::new(), 1.0 - ema.decay());
    for fraction in all {
        fractions.push(fraction);
        if fraction == last {
            break;
        }
    }
    fractions
}
