//! What a training says about itself: sums that stay on the device until somebody looks.

use std::cell::RefCell;

use gaternet_kernels::cuda::{CudaBuffer, CudaDevice};

use crate::cuda::Result;

/// Sums over the images of an epoch so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrainSums {
    /// The loss of each image's batch: cross-entropy, and the gate losses times their weights.
    pub loss: f64,
    /// Images classified correctly by the passes that trained them; of blended ones the share of the class that is named.
    pub correct: f64,
    /// The share of open gates in each image's batch; 1 without gates.
    pub open: f64,
}

#[derive(Debug)]
pub(super) struct Metrics {
    gated: bool,
    /// (2): of the last batch, mean loss and right answers.
    pub(super) loss: RefCell<CudaBuffer<f32>>,
    /// (2): sums of these.
    pub(super) totals: RefCell<CudaBuffer<f32>>,
    /// (1): a gate loss of the last batch.
    pub(super) gate_loss: RefCell<CudaBuffer<f32>>,
    /// (2): sums over images of weighted gate losses and of the share of open gates.
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

    /// Begins to count.
    pub(super) fn reset(&self) -> Result<()> {
        self.totals.borrow_mut().fill_zeros()?;
        Ok(self.gate_totals.borrow_mut().fill_zeros()?)
    }

    /// Waits for the device. `images` is how many the sums are of.
    pub(super) fn read(&self, images: usize) -> Result<TrainSums> {
        let (mut totals, mut gates) = ([0.0; 2], [0.0; 2]);
        self.totals.borrow().copy_to_slice(&mut totals)?;
        self.gate_totals.borrow().copy_to_slice(&mut gates)?;
        let [loss, correct] = totals.map(f64::from);
        let [gate_loss, open] = gates.map(f64::from);
        let open = if self.gated { open } else { images as f64 };
        Ok(TrainSums { loss: loss + gate_loss, correct, open })
    }
}
