//! A gate loss with its weight.

use gaternet_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::gating::gate_loss::GateLoss;

/// `weight · loss`, as a training adds it to the loss of its task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateTerm {
    /// The loss.
    pub loss: GateLoss,
    /// Its weight at the start of the training, not negative.
    pub weight: f32,
    /// Share of the training in which the weight falls to 0 in a straight line, above 0 and up to 1; it stays
    /// if `None`, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fades_over: Option<f32>,
}

impl GateTerm {
    /// A term whose weight stays.
    #[must_use]
    pub fn new(loss: GateLoss, weight: f32) -> GateTerm {
        GateTerm { loss, weight, fades_over: None }
    }

    /// `Err` if the weight or a parameter is out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming it.
    pub fn validate(&self) -> Result<()> {
        let fail =
            |field, value: f32, rule| Err(Error::Config { field, value: value.to_string(), rule });
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return fail("gate loss weight", self.weight, "must be finite and not negative");
        }
        if let Some(share) = self.fades_over.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return fail("fades_over", share, "must be above 0 and at most 1");
        }
        self.loss.validate()
    }

    /// The weight when the share `progress` of the training is done.
    #[must_use]
    pub fn weight_at(&self, progress: f64) -> f32 {
        let left =
            self.fades_over.map_or(1.0, |share| (1.0 - progress / f64::from(share)).max(0.0));
        (f64::from(self.weight) * left) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_stays_or_falls_in_a_straight_line() {
        let stays = GateTerm::new(GateLoss::L1, 0.1);
        assert_eq!([0.0, 0.5, 1.0].map(|done| stays.weight_at(done)), [0.1; 3]);
        let falls = GateTerm { fades_over: Some(0.5), ..GateTerm::new(GateLoss::L1, 2.0) };
        assert_eq!([0.0, 0.125, 0.5, 1.0].map(|done| falls.weight_at(done)), [2.0, 1.5, 0.0, 0.0]);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let good = GateTerm::new(GateLoss::default(), 1.0);
        good.validate().expect("in range");
        for (term, text) in [
            (GateTerm { weight: -1.0, ..good }, "gate loss weight = -1"),
            (GateTerm { weight: f32::NAN, ..good }, "gate loss weight = NaN"),
            (GateTerm { fades_over: Some(0.0), ..good }, "fades_over = 0"),
            (GateTerm { fades_over: Some(1.5), ..good }, "fades_over = 1.5"),
            (GateTerm { loss: GateLoss::TargetRate { target: -1.0 }, ..good }, "target_rate = -1"),
        ] {
            let error = term.validate().expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
