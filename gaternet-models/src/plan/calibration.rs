//! Which filters images ever open.

use gaternet_core::{Error, Result};

use super::OP;

/// The gates that the images of a calibration set open: [`InferencePlan::calibrated`] drops the filters of
/// all others.
///
/// [`InferencePlan::calibrated`]: super::InferencePlan::calibrated
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// (c).
    opened: Vec<bool>,
}

impl Calibration {
    /// Of no image yet, for `gates` gates, c.
    #[must_use]
    pub fn new(gates: usize) -> Calibration {
        Calibration { opened: vec![false; gates] }
    }

    /// Adds the images of `gates` (N, c); a gate that is not 0 is open.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not N times c.
    pub fn add(&mut self, gates: &[f32]) -> Result<()> {
        let c = self.opened.len();
        if !gates.len().is_multiple_of(c) {
            let got = format!("{} values for {c} gates", gates.len());
            return Err(Error::Shape { op: OP, rule: "the gates must be (N, c)", got });
        }
        for row in gates.chunks_exact(c.max(1)) {
            self.opened.iter_mut().zip(row).for_each(|(opened, gate)| *opened |= *gate != 0.0);
        }
        Ok(())
    }

    /// Whether an image opened each gate, (c).
    #[must_use]
    pub fn opened(&self) -> &[bool] {
        &self.opened
    }
}
