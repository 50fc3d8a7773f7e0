//! From gate logits to the gates of the filters: one rule for training, evaluation, plans and
//! files.

use gaternet_core::gate::{Estimator, GateDraw, MinActive};
use gaternet_core::{Result, Tensor, ops};
use rand_chacha::rand_core::Rng;

use crate::gating::gate_plan::GatePlan;
use crate::gating::gated_config::GatedConfig;

/// The way in which evaluation selects the outputs of the gater that open gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
pub(crate) enum Selection {
    /// Each output opens by its own value, as in [`hard_gate`](gaternet_core::gate::hard_gate), and
    /// the largest of a layer as far as min-active asks for them.
    Threshold,
    /// Only the largest outputs of a gated layer open.
    Largest,
}

/// The rule by which gate logits (N, outputs) become gates (N, c): the estimator makes gates of
/// them, min-active keeps some open, and every filter gets the gate that it
/// shares with others.
#[derive(Debug, Clone)]
pub(crate) struct GateRule {
    estimator: Estimator,
    min_active: MinActive,
    /// Outputs of each gated layer.
    widths: Vec<usize>,
    /// Filters of each output.
    repeats: Vec<usize>,
}

impl GateRule {
    pub(crate) fn new(config: &GatedConfig, plan: &GatePlan) -> GateRule {
        let GatedConfig { estimator, min_active, .. } = *config;
        GateRule { estimator, min_active, widths: plan.output_widths(), repeats: plan.repeats() }
    }

    /// Draws the noise of a training pass.
    pub(crate) fn draw(&self, batch: usize, rng: &mut impl Rng) -> Result<GateDraw> {
        self.estimator.draw(batch, self.repeats.len(), rng)
    }

    /// Computes the gates of a training pass.
    pub(crate) fn train(
        &self,
        gate_logits: &Tensor,
        draw: &GateDraw,
        progress: f64,
    ) -> Result<Tensor> {
        let gates = self.estimator.apply(gate_logits, &self.widths, draw, progress)?;
        let gates = self.min_active.apply(&gates, gate_logits, &self.widths)?;
        self.expand(gates)
    }

    /// Computes the gates of evaluation, each 0 or 1 (NaN of NaN), in no graph.
    pub(crate) fn eval(&self, gate_logits: &Tensor) -> Result<Tensor> {
        let mut raised = gate_logits.data().to_vec();
        self.min_active.raise(&mut raised, &self.widths)?;
        let raised = Tensor::new(raised, gate_logits.shape())?;
        self.expand(self.estimator.eval(&raised, &self.widths)?)
    }

    /// The way in which evaluation selects the outputs that open gates.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn selection(&self) -> Selection {
        match self.estimator.fixed_count(1) {
            Some(_) => Selection::Largest,
            None => Selection::Threshold,
        }
    }

    /// Number of outputs of a layer of `width` that are open because no others are larger, the
    /// first of equals: for a threshold those of min-active.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn largest(&self, width: usize) -> usize {
        self.estimator.fixed_count(width).unwrap_or_else(|| self.min_active.count(width))
    }

    /// Whether some outputs open because they are the largest, not by a threshold alone.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn ranks(&self) -> bool {
        self.selection() == Selection::Largest || !self.min_active.is_none()
    }

    /// Outputs of each gated layer.
    #[cfg_attr(not(any(feature = "cuda", feature = "onnx")), allow(dead_code))]
    pub(crate) fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// Filters of each output.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(crate) fn repeats(&self) -> &[usize] {
        &self.repeats
    }

    /// Whether no filters share a gate.
    pub(crate) fn is_single(&self) -> bool {
        self.repeats.iter().all(|filters| *filters == 1)
    }

    fn expand(&self, gates: Tensor) -> Result<Tensor> {
        if self.is_single() {
            return Ok(gates);
        }
        ops::repeat_interleave(&gates, &self.repeats)
    }

    /// Number of outputs of the gater.
    pub(crate) fn outputs(&self) -> usize {
        self.repeats.len()
    }

    /// Computes [`eval`](Self::eval) in place: `gates` (N, c) begins with the gate logits (N,
    /// outputs).
    pub(crate) fn eval_in_place(&self, batch: usize, gates: &mut [f32]) -> Result<()> {
        let outputs = &mut gates[..batch * self.outputs()];
        self.min_active.raise(outputs, &self.widths)?;
        self.estimator.eval_in_place(outputs, &self.widths)?;
        if self.is_single() {
            return Ok(());
        }
        // From the end: a gate never lies behind the filters that it is copied to.
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
