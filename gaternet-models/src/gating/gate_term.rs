//! A gate loss with its weight.

use gaternet_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::gating::gate_loss::GateLoss;

/// A term `weight · loss`, which training adds to the loss of its task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateTerm {
    /// The loss of the gates.
    pub loss: GateLoss,
    /// Weight at the start of the training, not negative.
    pub weight: f32,
    /// Fraction of the training in which the weight falls linearly to 0, above 0 and up to 1; with
    /// `None`, the default, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fades_over: Option<f32>,
}

impl GateTerm {
    /// A term whose weight stays.
    #[must_use]
    pub fn new(loss: GateLoss, weight: f32) -> GateTerm {
        GateTerm { loss, weight, fades_over: None }
    }

    /// Checks that the weight and the parameters are in range.
    ///
    /// # Errors
    /// [`Error::Config`] that names the one out of range.
    pub fn validate(&self) -> Result<()> {
        let fail =
            |field, value: f32, rule| Err(Error::Config { field, value: value.to_string(), rule });
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return fail("gate loss weight", self.weight, "must be finite and not negative");
        }
        if let Some(fraction) =
            self.fades_over.filter(|fraction| !(*fraction > 0.0 && *fraction <= 1.0))
        {
            return fail("fades_over", fraction, "must be above 0 and at most 1");
        }
        self.loss.validate()
    }

    /// Weight when the fraction `progress` of the training is done.
    #[must_use]
    pub fn weight_at(&self, progress: f64) -> f32 {
        let left =
            self.fades_over.map_or(1.0, |fraction| (1.0 - progress / f64::from(fraction)).max(0.0));
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
