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
    pub(super) gate_logits: Row,
    pub(super) grad_gate_logits: Row,
    /// Gate logits with the estimator's noise, (N, outputs of the gater).
    pub(super) noisy: Row,
    /// Gates (N, c) of evaluation; `None` if no loss looks at them, or those of the pass are the
    /// same.
    pub(super) evaluated: Option<Row>,
}

impl GatesNode {
    pub(super) fn plan_backward(&self, rows: &mut RowGrads) {
        rows.insert(self.gate_logits, self.grad_gate_logits);
    }

    pub(super) fn forward<T: Activation>(&self, pass: Pass<'_, T>) -> Result<()> {
        let Pass { buffers, gating, clock, .. } = pass;
        let (gates, gate_logits) = (&buffers.gates, buffers.row(self.gate_logits));
        match gating.filter(|gating| gating.draws()) {
            Some(gating) => gates.train(&gate_logits, |values| {
                let mut noisy = buffers.row_mut(self.noisy);
                gating.draw(buffers.batch, clock, &gate_logits, &mut noisy, values)
            })?,
            None => gates.evaluate(&gate_logits, &mut gates.values.borrow_mut())?,
        }
        if let Some(evaluated) = self.evaluated {
            gates.evaluate(&gate_logits, &mut buffers.row_mut(evaluated))?;
        }
        gates.refill()
    }

    pub(super) fn backward<T: Activation>(&self, pass: Pass<'_, T>) -> Result<()> {
        let Pass { buffers, metrics, clock, gating, .. } = pass;
        let Some(gating) = gating else { return Ok(()) };
        let evaluated = self.evaluated.map(|row| buffers.row(row));
        gating.add_losses((buffers, metrics, clock), evaluated.as_deref())?;
        let [gate_logits, noisy] = [self.gate_logits, self.noisy].map(|row| buffers.row(row));
        let mut grad_gate_logits = buffers.row_mut(self.grad_gate_logits);
        buffers.gates.backward(|grad| {
            gating.backward(clock, [&gate_logits, &noisy], grad, &mut grad_gate_logits)
        })?;
        gating.add_losses_of_logits((buffers, metrics, clock), &gate_logits, &mut grad_gate_logits)
    }
}
