//! Calibration: which gates a set of images opens.

use gaternet_core::{Error, Result};

use crate::gating::gate_plan::GatePlan;
use crate::gating::pruning::Fate;

const OP: &str = "calibration";

/// Statistics of a calibration set: how many of its images open each gate.
/// [`InferencePlan::calibrated`] drops the filters that none opens and runs those that all open
/// whatever the gater says; [`GatedNet::pruned_subnetwork`] makes the pruned subnetwork, which has
/// no gates.
///
/// [`InferencePlan::calibrated`]: crate::InferencePlan::calibrated
/// [`GatedNet::pruned_subnetwork`]: crate::GatedNet::pruned_subnetwork
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    images: usize,
    /// Images that opened each gate, (c).
    opened: Vec<usize>,
}

impl Calibration {
    /// A calibration without images yet, for `gates` gates, c.
    #[must_use]
    pub fn new(gates: usize) -> Calibration {
        Calibration { images: 0, opened: vec![0; gates] }
    }

    /// Adds the images of `gates` (N, c); a gate that is not 0 is open.
    ///
    /// # Errors
    /// [`Error::Shape`] if the length is no multiple of c.
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

    /// Number of images so far.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// Number of images that opened each gate, (c).
    #[must_use]
    pub fn opened(&self) -> &[usize] {
        &self.opened
    }

    /// The fraction of the images that open a gate: for each gated layer the mean over its filters.
    ///
    /// # Errors
    /// [`Error::Shape`] if the plan has another number of gates.
    pub fn densities(&self, plan: &GatePlan) -> Result<Vec<f64>> {
        self.check(plan)?;
        let density = |layer: &crate::GatedLayer| {
            let opened: usize = self.opened[layer.columns.clone()].iter().sum();
            opened as f64 / (self.images * layer.columns.len()).max(1) as f64
        };
        Ok(plan.layers().iter().map(density).collect())
    }

    /// Names of the gated layers of which no image opened a filter: nothing of an image passes
    /// through them.
    ///
    /// # Errors
    /// [`Error::Shape`] if the plan has another number of gates.
    pub fn inactive_layers<'a>(&self, plan: &'a GatePlan) -> Result<Vec<&'a str>> {
        self.check(plan)?;
        let never_open = |layer: &&crate::GatedLayer| {
            self.opened[layer.columns.clone()].iter().all(|opened| *opened == 0)
        };
        Ok(plan.layers().iter().filter(never_open).map(|layer| layer.conv.as_str()).collect())
    }

    /// The state of each filter after the images, gate by gate: constant where they all agree.
    pub(crate) fn fates(&self, plan: &GatePlan) -> Result<Vec<Fate>> {
        self.check(plan)?;
        let fate = |opened: &usize| match *opened {
            0 => Fate::Pruned,
            opened if opened == self.images => Fate::AlwaysOn,
            _ => Fate::Dynamic,
        };
        Ok(self.opened.iter().map(fate).collect())
    }

    /// States without a dynamic one: always on if more than a `fraction` of the images open the
    /// gate, else pruned.
    pub(crate) fn majority(&self, plan: &GatePlan, fraction: f64) -> Result<Vec<Fate>> {
        self.check(plan)?;
        if !(0.0..=1.0).contains(&fraction) {
            let rule = "must be at least 0 and at most 1";
            return Err(Error::Config { field: "fraction", value: fraction.to_string(), rule });
        }
        let least = fraction * self.images as f64;
        let fate = |opened: &usize| match *opened as f64 > least {
            true => Fate::AlwaysOn,
            false => Fate::Pruned,
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
