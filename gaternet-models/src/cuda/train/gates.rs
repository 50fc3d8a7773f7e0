//! From the gater's output to the gates, forward and backward.

use gaternet_kernels::cuda::Activation;

use super::pass::Pass;
use super::rows::RowGrads;
use crate::cuda::Result;
use crate::cuda::value::Row;

/// The node of the gates: estimator, min-active, shared gates, and the losses of the gates.
#[derive(Debug)]
pub(super) struct GatesNode {
    /// Gate logits (N, outputs of the gater).
    pub(super) preact: Row,
    pub(super) grad_preact: Row,
    /// Gate logits with the estimator's noise, (N, outputs of the gater).
    pub(super) noisy: Row,
    /// Gates (N, c) of evaluation; `None` if no loss looks at them, or those of the pass are the
    /// same.
    pub(super) evaluated: Option<Row>,
}

impl GatesNode {
    pub(super) fn plan_backward(&self, rows: &mut RowGrads) {
        rows.insert(self.preact, self.grad_preact);
    }

    pub(super) fn forward<T: Activation>(&self, pass: Pass<'_, T>) -> Result<()> {
        let Pass { buffers, gating, clock, .. } = pass;
        let (gates, preact) = (&buffers.gates, buffers.row(self.preact));
        match gating.filter(|gating| gating.draws()) {
            Some(gating) => gates.train(&preact, |values| {
                let mut noisy = buffers.row_mut(self.noisy);
                gating.draw(buffers.batch, clock, &preact, &mut noisy, values)
            })?,
            None => gates.evaluate(&preact, &mut gates.values.borrow_mut())?,
        }
        if let Some(evaluated) = self.evaluated {
            gates.evaluate(&preact, &mut buffers.row_mut(evaluated))?;
        }
        gates.refill()
    }

    pub(super) fn backward<T: Activation>(&self, pass: Pass<'_, T>) -> Result<()> {
        let Pass { buffers, metrics, clock, gating, .. } = pass;
        let Some(gating) = gating else { return Ok(()) };
        let evaluated = self.evaluated.map(|row| buffers.row(row));
        gating.add_losses((buffers, metrics, clock), evaluated.as_deref())?;
        let [preact, noisy] = [self.preact, self.noisy].map(|row| buffers.row(row));
        let mut grad_preact = buffers.row_mut(self.grad_preact);
        buffers
            .gates
            .backward(|grad| gating.backward(clock, [&preact, &noisy], grad, &mut grad_preact))?;
        gating.add_losses_of_preact((buffers, metrics, clock), &preact, &mut grad_preact)
    }
}
