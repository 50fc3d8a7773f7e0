//! From the gater's output to the gates of the filters: one rule for training, evaluation, plans and files.

use gaternet_core::gate::{Estimator, GateDraw, GateFloor};
use gaternet_core::{Result, Tensor, ops};
use rand_chacha::rand_core::Rng;

use crate::gating::gate_plan::GatePlan;
use crate::gating::gated_config::GatedConfig;

/// What decides in evaluation which outputs of the gater open their gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
pub(crate) enum Selection {
    /// Each by its own value, as [`hard_gate`](gaternet_core::gate::hard_gate) does it, and those of
    /// the floor.
    Threshold,
    /// The largest of a slot alone.
    Largest,
}

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

    /// What decides in evaluation.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn selection(&self) -> Selection {
        match self.estimator.fixed_count(1) {
            Some(_) => Selection::Largest,
            None => Selection::Threshold,
        }
    }

    /// How many outputs of a slot of `width` are open because no others are larger, the first of
    /// equals; the floor's share of what a threshold opens.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn largest(&self, width: usize) -> usize {
        self.estimator.fixed_count(width).unwrap_or_else(|| self.floor.count(width))
    }

    /// Whether a threshold is not all: some are open because they are the largest.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn ranks(&self) -> bool {
        self.selection() == Selection::Largest || !self.floor.is_none()
    }

    /// Outputs of each slot.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// Filters of each output.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(crate) fn repeats(&self) -> &[usize] {
        &self.repeats
    }

    /// Whether filters have gates of their own.
    pub(crate) fn is_single(&self) -> bool {
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
