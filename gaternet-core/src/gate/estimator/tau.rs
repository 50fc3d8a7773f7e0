//! How the temperature of binary concrete gates falls.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A temperature that goes from `first` to `last` by equal factors, and stays there.
///
/// When the fraction p of a training is done it is `first · (last / first)^min(1, p / fraction)`:
/// the exponential annealing of Jang et al. 2017 (arXiv 1611.01144), with a least temperature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TauSchedule {
    /// The temperature at the start, positive.
    pub first: f64,
    /// The temperature in the end, positive.
    pub last: f64,
    /// Fraction of the training that anneals, 0 to 1.
    #[serde(alias = "share", default = "whole")]
    pub fraction: f64,
}

fn whole() -> f64 {
    1.0
}

impl TauSchedule {
    /// One temperature for all of the training.
    #[must_use]
    pub fn constant(tau: f64) -> TauSchedule {
        TauSchedule { first: tau, last: tau, fraction: 0.0 }
    }

    /// `Err` if a setting is out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming it.
    pub fn validate(&self) -> Result<()> {
        let positive = |tau: f64| tau.is_finite() && tau > 0.0;
        for (field, value, good, rule) in [
            ("tau.first", self.first, positive(self.first), "must be positive and finite"),
            ("tau.last", self.last, positive(self.last), "must be positive and finite"),
            ("tau.fraction", self.fraction, (0.0..=1.0).contains(&self.fraction), "must be 0 to 1"),
        ] {
            if !good {
                return Err(Error::Config { field, value: value.to_string(), rule });
            }
        }
        Ok(())
    }

    /// The temperature when the fraction `progress` of the training is done.
    #[must_use]
    pub fn tau(&self, progress: f64) -> f32 {
        let done =
            if self.fraction > 0.0 { (progress / self.fraction).clamp(0.0, 1.0) } else { 1.0 };
        (self.first * (self.last / self.first).powf(done)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_falls_by_equal_factors_to_its_floor() {
        let schedule = TauSchedule { first: 4.0, last: 0.25, fraction: 0.5 };
        let taus: Vec<f32> = [0.0, 0.25, 0.5, 0.75, 1.0].map(|done| schedule.tau(done)).to_vec();
        for (tau, want) in taus.iter().zip([4.0, 1.0, 0.25, 0.25, 0.25]) {
            assert!((tau - want).abs() < 1e-6, "{taus:?}");
        }
        for done in [0.0, 0.9] {
            assert_eq!(TauSchedule::constant(0.7).tau(done), 0.7);
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let good = TauSchedule::constant(1.0);
        good.validate().expect("in range");
        for (schedule, field) in [
            (TauSchedule { first: 0.0, ..good }, "first"),
            (TauSchedule { last: f64::NAN, ..good }, "last"),
            (TauSchedule { fraction: 1.5, ..good }, "fraction"),
        ] {
            let error = schedule.validate().expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
