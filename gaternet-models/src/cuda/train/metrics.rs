//! Metrics of a training: sums that stay on the device until somebody reads them.

use std::cell::RefCell;

use gaternet_kernels::cuda::{CudaBuffer, CudaDevice};

use crate::cuda::Result;

/// Sums over the images of an epoch so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrainSums {
    /// The sum over the images of their batch's loss: cross-entropy, and the gate losses times
    /// their weights.
    pub loss: f64,
    /// Number of images classified correctly by the passes that trained them; a mixed one counts as
    /// the fraction of the class that is named.
    pub correct: f64,
    /// The sum over the images of the fraction of open gates in their batch; 1 each without gates.
    pub open_gates: f64,
}

#[derive(Debug)]
pub(super) struct Metrics {
    gated: bool,
    /// Mean loss and number of correct predictions of the last batch, (2).
    pub(super) loss: RefCell<CudaBuffer<f32>>,
    /// Sums of `loss` over the batches, (2).
    pub(super) totals: RefCell<CudaBuffer<f32>>,
    /// A gate loss of the last batch, (1).
    pub(super) gate_loss: RefCell<CudaBuffer<f32>>,
    /// Sums over images of the weighted gate losses and of the fraction of open gates, (2).
    pub(super) gate_totals: RefCell<CudaBuffer<f32>>,
}

impl Metrics {
    pub(super) fn new(device: &CudaDevice, gated: bool) -> Result<Metrics> {
        let zeros = |len| Ok::<_, crate::cuda::Error>(CudaBuffer::zeros(device, len)?.into());
        Ok(Metrics {
            gated,
            loss: zeros(2)?,
            totals: zeros(2)?,
            gate_loss: zeros(1)?,
            gate_totals: zeros(2)?,
        })
    }

    /// Sets the sums to 0.
    pub(super) fn reset(&self) -> Result<()> {
        self.totals.borrow_mut().fill_zeros()?;
        Ok(self.gate_totals.borrow_mut().fill_zeros()?)
    }

    /// Reads the sums, which are over `images` images; waits for the device.
    pub(super) fn read(&self, images: usize) -> Result<TrainSums> {
        let (mut totals, mut gates) = ([0.0; 2], [0.0; 2]);
        self.totals.borrow().copy_to_slice(&mut totals)?;
        self.gate_totals.borrow().copy_to_slice(&mut gates)?;
        let [loss, correct] = totals.map(f64::from);
        let [gate_loss, open] = gates.map(f64::from);
        let open = if self.gated { open } else { images as f64 };
        Ok(TrainSums { loss: loss + gate_loss, correct, open_gates: open })
    }
}
