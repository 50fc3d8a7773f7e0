//! Values that share a bound on their error.

use std::fmt;

use anyhow::{Result, ensure};

/// How far a group of values may be from the reference.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// Largest absolute difference.
    Absolute(f64),
    /// Difference over the size of the reference.
    Relative(f64),
    /// L2 norm of the difference over that of the reference, the largest of all tensors.
    RelativeL2(f64),
}

impl Measure {
    pub(crate) fn bound(self) -> f64 {
        match self {
            Measure::Absolute(bound) | Measure::Relative(bound) | Measure::RelativeL2(bound) => {
                bound
            }
        }
    }

    pub(crate) fn error(self, got: &[f32], want: &[f32]) -> f64 {
        let pairs = || got.iter().zip(want).map(|(g, w)| (f64::from(*g), f64::from(*w)));
        // f64::max drops a NaN, which must count as the worst error.
        let largest = |errors: &mut dyn Iterator<Item = f64>| {
            errors.fold(0.0, |worst: f64, e| if e.is_nan() { f64::INFINITY } else { worst.max(e) })
        };
        match self {
            Measure::Absolute(_) => largest(&mut pairs().map(|(g, w)| (g - w).abs())),
            Measure::Relative(_) => {
                largest(&mut pairs().map(|(g, w)| (g - w).abs() / w.abs().max(f64::MIN_POSITIVE)))
            }
            Measure::RelativeL2(_) => {
                let norm = |sum: f64| if sum.is_nan() { f64::INFINITY } else { sum.sqrt() };
                let difference = norm(pairs().map(|(g, w)| (g - w).powi(2)).sum());
                difference / norm(pairs().map(|(_, w)| w * w).sum()).max(f64::MIN_POSITIVE)
            }
        }
    }
}

/// The worst error of tensors that share a bound.
#[derive(Debug)]
pub(crate) struct Group {
    name: &'static str,
    measure: Measure,
    error: f64,
    worst: String,
}

impl Group {
    pub(crate) fn new(name: &'static str, measure: Measure) -> Group {
        Group { name, measure, error: 0.0, worst: String::new() }
    }

    pub(crate) fn add(&mut self, name: &str, got: &[f32], want: &[f32]) -> Result<()> {
        ensure!(got.len() == want.len(), "{name}: {} values, not {}", got.len(), want.len());
        let error = self.measure.error(got, want);
        if error > self.error || self.worst.is_empty() {
            self.error = error;
            name.clone_into(&mut self.worst);
        }
        Ok(())
    }

    /// Whether every tensor of the group is within its bound.
    pub(crate) fn passes(&self) -> bool {
        self.error <= self.measure.bound()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passes() { "" } else { "  FAILED" };
        let (error, bound) = (self.error, self.measure.bound());
        write!(f, "{:<44} {error:>12.3e} {bound:>10.0e}  {}{verdict}", self.name, self.worst)
    }
}
