//! Which filters images open.

use gaternet_core::{Error, Result};

use crate::gating::gate_plan::GatePlan;
use crate::gating::pruning::Fate;

const OP: &str = "calibration";

/// How many images of a calibration set open each gate. [`InferencePlan::calibrated`] drops the filters that
/// none opens and runs those that all open whatever the gater says; [`GatedNet::static_part`] makes a
/// network without gates.
///
/// [`InferencePlan::calibrated`]: crate::InferencePlan::calibrated
/// [`GatedNet::static_part`]: crate::GatedNet::static_part
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    images: usize,
    /// (c).
    opened: Vec<usize>,
}

impl Calibration {
    /// Of no image yet, for `gates` gates, c.
    #[must_use]
    pub fn new(gates: usize) -> Calibration {
        Calibration { images: 0, opened: vec![0; gates] }
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
            self.images += 1;
            let open = row.iter().map(|gate| usize::from(*gate != 0.0));
            self.opened.iter_mut().zip(open).for_each(|(opened, open)| *opened += open);
        }
        Ok(())
    }

    /// Images so far.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// Images that opened each gate, (c).
    #[must_use]
    pub fn opened(&self) -> &[usize] {
        &self.opened
    }

    /// Share of the images that open a gate, the mean over each gated convolution's filters.
    ///
    /// # Errors
    /// [`Error::Shape`] if the plan has another number of gates.
    pub fn densities(&self, plan: &GatePlan) -> Result<Vec<f64>> {
        self.check(plan)?;
        let density = |slot: &crate::GateSlot| {
            let opened: usize = self.opened[slot.columns.clone()].iter().sum();
            opened as f64 / (self.images * slot.columns.len()).max(1) as f64
        };
        Ok(plan.slots().iter().map(density).collect())
    }

    /// The gated convolutions of which no image opened a filter: nothing of an image passes through them.
    ///
    /// # Errors
    /// [`Error::Shape`] if the plan has another number of gates.
    pub fn dead_layers<'a>(&self, plan: &'a GatePlan) -> Result<Vec<&'a str>> {
        self.check(plan)?;
        let dead = |slot: &&crate::GateSlot| {
            self.opened[slot.columns.clone()].iter().all(|opened| *opened == 0)
        };
        Ok(plan.slots().iter().filter(dead).map(|slot| slot.conv.as_str()).collect())
    }

    /// What all images agree on, gate by gate.
    pub(crate) fn fates(&self, plan: &GatePlan) -> Result<Vec<Fate>> {
        self.check(plan)?;
        let fate = |opened: &usize| match *opened {
            0 => Fate::Gone,
            opened if opened == self.images => Fate::Open,
            _ => Fate::Gated,
        };
        Ok(self.opened.iter().map(fate).collect())
    }

    /// Open for good if more than `share` of the images open it, else gone.
    pub(crate) fn majority(&self, plan: &GatePlan, share: f64) -> Result<Vec<Fate>> {
        self.check(plan)?;
        let least = share * self.images as f64;
        let fate = |opened: &usize| match *opened as f64 > least {
            true => Fate::Open,
            false => Fate::Gone,
        };
        Ok(self.opened.iter().map(fate).collect())
    }

    fn check(&self, plan: &GatePlan) -> Result<()> {
        if self.opened.len() == plan.gates() {
            return Ok(());
        }
        let rule = "a calibration must be of the network's gates";
        let got = format!("{} for {}", self.opened.len(), plan.gates());
        Err(Error::Shape { op: OP, rule, got })
    }
}
