//! From the gater's output to the gates of the filters: one rule for training, evaluation, plans and files.

use gaternet_core::gate::{Estimator, GateDraw, GateFloor};
use gaternet_core::{Result, Tensor, ops};
use rand_chacha::rand_core::Rng;

use crate::gating::gate_plan::GatePlan;
use crate::gating::gated_config::GatedConfig;

/// Pre-activations (N, outputs) become gates by the estimator, those of the floor stay open, and every filter of a
/// group gets the gate of its group: (N, c).
#[derive(Debug, Clone)]
pub(crate) struct GateRule {
    estimator: Estimator,
    floor: GateFloor,
    /// Outputs of each slot.
    widths: Vec<usize>,
    /// Filters of each output.
    repeats: Vec<usize>,
}

impl GateRule {
    pub(crate) fn new(config: &GatedConfig, plan: &GatePlan) -> GateRule {
        let GatedConfig { estimator, floor, .. } = *config;
        GateRule { estimator, floor, widths: plan.output_widths(), repeats: plan.repeats() }
    }

    /// The noise of a training pass.
    pub(crate) fn draw(&self, batch: usize, rng: &mut impl Rng) -> Result<GateDraw> {
        self.estimator.draw(batch, self.repeats.len(), rng)
    }

    /// Gates of a training pass.
    pub(crate) fn train(&self, preact: &Tensor, draw: &GateDraw, progress: f64) -> Result<Tensor> {
        let gates = self.estimator.apply(preact, &self.widths, draw, progress)?;
        let gates = self.floor.apply(&gates, preact, &self.widths)?;
        self.expand(gates)
    }

    /// Gates of evaluation, each 0 or 1 (NaN of NaN), in no graph.
    pub(crate) fn eval(&self, preact: &Tensor) -> Result<Tensor> {
        let mut raised = preact.data().to_vec();
        self.floor.raise(&mut raised, &self.widths)?;
        let raised = Tensor::new(raised, preact.shape())?;
        self.expand(self.estimator.eval(&raised, &self.widths)?)
    }

    /// Whether filters have gates of their own.
    fn is_single(&self) -> bool {
        self.repeats.iter().all(|filters| *filters == 1)
    }

    fn expand(&self, gates: Tensor) -> Result<Tensor> {
        if self.is_single() {
            return Ok(gates);
        }
        ops::repeat_interleave(&gates, &self.repeats)
    }

    /// Outputs of the gater.
    pub(crate) fn outputs(&self) -> usize {
        self.repeats.len()
    }

    /// [`eval`](Self::eval) in place: `gates` (N, c) begins with the pre-activations (N, outputs).
    pub(crate) fn eval_in_place(&self, batch: usize, gates: &mut [f32]) -> Result<()> {
        let outputs = &mut gates[..batch * self.outputs()];
        self.floor.raise(outputs, &self.widths)?;
        self.estimator.eval_in_place(outputs, &self.widths)?;
        if self.is_single() {
            return Ok(());
        }
        // From the end: a gate never lies behind the filters it is for.
        let (mut from, mut to) = (outputs.len(), gates.len());
        while from > 0 {
            from -= 1;
            let filters = self.repeats[from % self.repeats.len()];
            let gate = gates[from];
            gates[to - filters..to].fill(gate);
            to -= filters;
        }
        Ok(())
    }
}
