//! Which filters a plan has at all.

use gaternet_core::{Error, Result};

use super::{Calibration, OP};
use crate::gate_plan::{ConvSlots, GatePlan};

/// The filters of a gated network that are not dropped.
pub(super) struct Kept<'a> {
    plan: &'a GatePlan,
    slots: Vec<KeptSlot>,
}

/// The filters of a slot that are not dropped.
pub(super) struct KeptSlot {
    /// Their numbers, ascending.
    pub(super) filters: Vec<u32>,
    /// Whether the output has planes of these only. What only reads gated channels can do without the
    /// others; a residual output cannot, its planes hold the shortcut too.
    pub(super) compact: bool,
}

impl<'a> Kept<'a> {
    /// All without a calibration.
    pub(super) fn new(plan: &'a GatePlan, calibration: Option<&Calibration>) -> Result<Kept<'a>> {
        let opened = calibration.map(Calibration::opened);
        if let Some(opened) = opened.filter(|opened| opened.len() != plan.gates()) {
            return Err(Error::Shape {
                op: OP,
                rule: "a calibration must be of the network's gates",
                got: format!("{} for {}", opened.len(), plan.gates()),
            });
        }
        let slot = |(number, slot): (usize, &crate::GateSlot)| {
            let opened = opened.map(|opened| &opened[slot.columns.clone()]);
            let kept = |filter: &u32| opened.is_none_or(|opened| opened[*filter as usize]);
            let mut filters: Vec<u32> = (0..slot.columns.len() as u32).filter(kept).collect();
            let compact = plan.convs().iter().any(|conv| conv.channels == Some(number));
            // A convolution has at least one filter and one channel.
            if compact && filters.is_empty() {
                filters.push(0);
            }
            KeptSlot { filters, compact }
        };
        let slots = plan.slots().iter().enumerate().map(slot).collect();
        Ok(Kept { plan, slots })
    }

    pub(super) fn plan(&self) -> &GatePlan {
        self.plan
    }

    pub(super) fn slots(&self) -> &[KeptSlot] {
        &self.slots
    }

    /// The slots of a convolution.
    pub(super) fn conv(&self, number: usize) -> ConvSlots {
        self.plan.convs()[number]
    }
}
