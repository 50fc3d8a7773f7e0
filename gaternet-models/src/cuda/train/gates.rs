//! From the gater's output to the gates, forward and backward.

use gaternet_kernels::cuda::gate_loss::{self, Loss, WeightedGradient};
use gaternet_kernels::cuda::sem_hash::{self, Draw};
use gaternet_kernels::cuda::{Activation, Clock};

use super::metrics::Metrics;
use super::rows::RowGrads;
use crate::cuda::Result;
use crate::cuda::buffers::{Buffers, Row, Sizes};

/// Improved SemHash, and the price of open gates.
#[derive(Debug)]
pub(super) struct GatesNode {
    /// (N, c).
    pub(super) preact: Row,
    pub(super) grad_preact: Row,
    /// Number of gates, c.
    pub(super) count: usize,
}

impl GatesNode {
    pub(super) fn plan_backward(&self, sizes: &mut Sizes, batch: usize, rows: &mut RowGrads) {
        sizes.need_scratch(gate_loss::l1_scratch_len(batch * self.count));
        rows.insert(self.preact, self.grad_preact);
    }

    pub(super) fn forward<T: Activation>(&self, buffers: &Buffers<T>, clock: &Clock) -> Result<()> {
        {
            let gates = &buffers.gates;
            let (mut noisy, mut values) = (gates.noisy.borrow_mut(), gates.values.borrow_mut());
            let draw = Draw::Random { clock, stream: 0 };
            let preact = buffers.row(self.preact);
            sem_hash::forward(buffers.batch, &preact, draw, &mut noisy, &mut values)?;
        }
        buffers.gates.refill()
    }

    pub(super) fn backward<T: Activation>(
        &self,
        buffers: &Buffers<T>,
        metrics: &Metrics,
    ) -> Result<()> {
        let gates = &buffers.gates;
        {
            let (mut grad, mut scratch) = (gates.grad.borrow_mut(), buffers.scratch());
            let [mut result, mut totals] =
                [metrics.gate_loss.borrow_mut(), metrics.gate_totals.borrow_mut()];
            let gradient = WeightedGradient { weight: &metrics.lambda, gates: &mut grad };
            let totals = Some((buffers.batch, &mut *totals));
            let loss = Loss { result: &mut result, totals, scratch: &mut scratch };
            gate_loss::l1(&gates.values.borrow(), Some(gradient), loss)?;
        }
        let (noisy, grad) = (gates.noisy.borrow(), gates.grad.borrow());
        Ok(sem_hash::backward(&noisy, &grad, &mut buffers.row_mut(self.grad_preact))?)
    }
}
