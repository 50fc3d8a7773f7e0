//! A threshold that keeps a network, trained already, within a budget of MACs.

use gaternet_core::gate::Estimator;
use gaternet_core::{Error, Result, Tensor};

use crate::gating::gated_net::GatedNet;

/// Precision of a threshold: no two gates of interest are closer.
const PRECISION: f32 = 1e-6;

impl GatedNet {
    /// The least threshold t (to 1e-6) at which images with the gate logits `gate_logits` (N,
    /// outputs of the gater) run at most `budget`, the mean over images of MACs over those of the
    /// plain backbone, gater included, if a gate is open where its logit is above t instead of 0.
    /// Take it from [`Gater::gate_bias`](crate::Gater::gate_bias), and the network has the budget
    /// wherever it runs: on other images about, as far as these stand for them.
    ///
    /// `size` (H, W) is the size of the images. All gates are open if that is within the budget.
    ///
    /// # Errors
    /// [`Error::Config`] if the budget is less than what runs with every gate closed, or the
    /// estimator is [`Estimator::TopK`], which opens a number of gates and has no threshold;
    /// [`Error::Shape`] if the gate logits are not (N, outputs), hold a NaN, or N is 0.
    pub fn threshold_for_budget(
        &self,
        size: [usize; 2],
        gate_logits: &Tensor,
        budget: f64,
    ) -> Result<f32> {
        if let Estimator::TopK { density } = self.config().estimator {
            return Err(Error::Config {
                field: "estimator",
                value: format!("top_k of density {density}"),
                rule: "opens a fixed number of gates, so no threshold changes what runs",
            });
        }
        if gate_logits.is_empty() {
            let (op, rule) = ("budget", "there must be an image");
            return Err(Error::Shape { op, rule, got: gate_logits.shape().to_string() });
        }
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        for &gate_logits in gate_logits.data() {
            if gate_logits.is_nan() {
                let (op, rule) = ("budget", "a gate logit must be a number");
                return Err(Error::Shape { op, rule, got: gate_logits.to_string() });
            }
            (least, most) = (least.min(gate_logits), most.max(gate_logits));
        }
        let ratio = |threshold: f32| -> Result<f64> {
            let shifted =
                gate_logits.data().iter().map(|gate_logits| gate_logits - threshold).collect();
            let gates = self.evaluation_gates(&Tensor::new(shifted, gate_logits.shape())?)?;
            Ok(self.cost(size, &gates)?.ratio())
        };
        // One beyond the least and the largest logit, all gates are open or all closed.
        let (mut over, mut within) = (least - 1.0, most + 1.0);
        if ratio(over)? <= budget {
            return Ok(over);
        }
        let closed = ratio(within)?;
        if closed > budget || budget.is_nan() {
            return Err(Error::Config {
                field: "budget",
                value: format!("{budget} (with every gate closed, {closed:.4})"),
                rule: "must be at least what runs with every gate closed, over the plain backbone",
            });
        }
        while within - over > PRECISION {
            let middle = f32::midpoint(over, within);
            *(if ratio(middle)? <= budget { &mut within } else { &mut over }) = middle;
        }
        Ok(within)
    }
}
