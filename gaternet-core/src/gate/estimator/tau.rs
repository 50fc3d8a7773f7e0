//! How the temperature of binary concrete gates falls.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A temperature for each step: from `first` down to `last` by equal factors, then `last`.
///
/// With T steps in all and `A = share · T`, step s has `first · (last / first)^min(1, s / A)`: the exponential
/// annealing of Jang et al. 2017, with its floor. Steps count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TauSchedule {
    /// The temperature at step 0, positive.
    pub first: f64,
    /// The temperature in the end, positive.
    pub last: f64,
    /// Share of the steps that anneal, 0 to 1.
    #[serde(default = "whole")]
    pub share: f64,
}

fn whole() -> f64 {
    1.0
}

impl TauSchedule {
    /// One temperature for all of the training.
    #[must_use]
    pub fn constant(tau: f64) -> TauSchedule {
        TauSchedule { first: tau, last: tau, share: 0.0 }
    }

    /// `Err` if a setting is out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming it.
    pub fn validate(&self) -> Result<()> {
        let positive = |tau: f64| tau.is_finite() && tau > 0.0;
        for (field, value, good, rule) in [
            ("first", self.first, positive(self.first), "must be positive and finite"),
            ("last", self.last, positive(self.last), "must be positive and finite"),
            ("share", self.share, (0.0..=1.0).contains(&self.share), "must be 0 to 1"),
        ] {
            if !good {
                return Err(Error::Config { field, value: value.to_string(), rule });
            }
        }
        Ok(())
    }

    /// The temperature of step `step` of `steps`, for [`Estimator::with_tau`](super::Estimator::with_tau).
    #[must_use]
    pub fn tau(&self, step: usize, steps: usize) -> f32 {
        let annealing = self.share * steps as f64;
        let done = if annealing > 0.0 { (step as f64 / annealing).min(1.0) } else { 1.0 };
        (self.first * (self.last / self.first).powf(done)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_falls_by_equal_factors_to_its_floor() {
        let schedule = TauSchedule { first: 4.0, last: 0.25, share: 0.5 };
        let taus: Vec<f32> = [0, 25, 50, 75, 100].map(|step| schedule.tau(step, 100)).to_vec();
        for (tau, want) in taus.iter().zip([4.0, 1.0, 0.25, 0.25, 0.25]) {
            assert!((tau - want).abs() < 1e-6, "{taus:?}");
        }
        assert_eq!(TauSchedule::constant(0.7).tau(0, 10), 0.7);
        assert_eq!(TauSchedule::constant(0.7).tau(9, 10), 0.7);
        assert_eq!(schedule.tau(0, 0), 0.25, "no step is the end");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let good = TauSchedule::constant(1.0);
        good.validate().expect("in range");
        for (schedule, field) in [
            (TauSchedule { first: 0.0, ..good }, "first"),
            (TauSchedule { last: f64::NAN, ..good }, "last"),
            (TauSchedule { share: 1.5, ..good }, "share"),
        ] {
            let error = schedule.validate().expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
