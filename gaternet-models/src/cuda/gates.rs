//! Gates on the device: from the gater's output to the gates of all filters, as
//! [`GateRule`](crate::gating::gate_rule::GateRule) has it.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

use gaternet_kernels::cuda::conv2d::GateColumns;
use gaternet_kernels::cuda::{
    CudaActiveFilters, CudaBuffer, CudaDevice, GatedLayers, SharedGates, gate_largest,
    repeat_interleave, sem_hash,
};

use super::error::{Error, Result};
use crate::gating::gate_rule::{GateRule, Selection};
use crate::gating::gated_net::GatedNet;

/// All gates of a batch; empty without a gater.
#[derive(Debug)]
pub(super) struct Gates {
    /// Columns of each gated layer.
    columns: Vec<Range<usize>>,
    rule: Option<Rule>,
    /// Values (N, c).
    pub(super) values: RefCell<CudaBuffer<f32>>,
    /// Gradient (N, c).
    pub(super) grad: RefCell<CudaBuffer<f32>>,
    lists: BTreeMap<usize, RefCell<CudaActiveFilters>>,
}

/// The rule that makes gates of the gater's output.
#[derive(Debug)]
struct Rule {
    rule: GateRule,
    /// Outputs of the gater by gated layer, and how many of each open because they are the largest.
    layers: GatedLayers,
    /// The gates that several filters share; `None` if every filter has a gate of its own.
    shared: Option<Shared>,
}

#[derive(Debug)]
struct Shared {
    filters: SharedGates,
    /// Values (N, outputs of the gater) of the shared gates.
    values: RefCell<CudaBuffer<f32>>,
    grad: RefCell<CudaBuffer<f32>>,
}

impl Rule {
    fn new(device: &CudaDevice, batch: usize, model: &GatedNet) -> Result<Rule> {
        let rule = model.rule();
        let zeros = || Ok::<_, Error>(CudaBuffer::zeros(device, batch * rule.outputs())?.into());
        let shared = match rule.is_single() {
            true => None,
            false => {
                let filters = SharedGates::new(device, rule.repeats())?;
                Some(Shared { filters, values: zeros()?, grad: zeros()? })
            }
        };
        let layers = GatedLayers::new(device, rule.widths(), |width| rule.largest(width))?;
        Ok(Rule { rule, layers, shared })
    }

    /// Fills in the gates of all filters, which `estimate` and min-active make.
    fn fill(
        &self,
        gate_logits: &CudaBuffer<f32>,
        values: &mut CudaBuffer<f32>,
        estimate: impl FnOnce(&mut CudaBuffer<f32>) -> Result<()>,
    ) -> Result<()> {
        let of_gater = |gates: &mut CudaBuffer<f32>| {
            estimate(gates)?;
            match self.rule.ranks() {
                true => Ok::<_, Error>(gate_largest::min_active(&self.layers, gate_logits, gates)?),
                false => Ok(()),
            }
        };
        let Some(Shared { filters, values: shared, .. }) = &self.shared else {
            return of_gater(values);
        };
        of_gater(&mut shared.borrow_mut())?;
        Ok(repeat_interleave::forward(filters, &shared.borrow(), values)?)
    }
}

impl Gates {
    /// Makes the gates of `model`; `lists` are the gated layers whose active filters are listed,
    /// with their numbers of filters.
    pub(super) fn new(
        device: &CudaDevice,
        batch: usize,
        model: Option<&GatedNet>,
        lists: &BTreeMap<usize, usize>,
    ) -> Result<Gates> {
        let layers = model.map_or(&[][..], |model| model.plan().layers());
        let count = model.map_or(0, |model| model.plan().gates());
        let list = |(&layer, &filters)| {
            Ok((layer, CudaActiveFilters::empty(device, batch, filters)?.into()))
        };
        let zeros = || Ok::<_, Error>(CudaBuffer::zeros(device, batch * count)?.into());
        Ok(Gates {
            columns: layers.iter().map(|layer| layer.columns.clone()).collect(),
            rule: model.map(|model| Rule::new(device, batch, model)).transpose()?,
            values: zeros()?,
            grad: zeros()?,
            lists: lists.iter().map(list).collect::<Result<_>>()?,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.columns.last().map_or(0, |columns| columns.end)
    }

    /// Columns of a gated layer in `values`.
    pub(super) fn of<'a>(&self, layer: usize, values: &'a CudaBuffer<f32>) -> GateColumns<'a> {
        GateColumns { gates: values, stride: self.count(), first: self.columns[layer].start }
    }

    pub(super) fn active(&self, layer: usize) -> Ref<'_, CudaActiveFilters> {
        self.lists[&layer].borrow()
    }

    /// Lists the filters that are active now.
    pub(super) fn refill(&self) -> Result<()> {
        let values = self.values.borrow();
        for (layer, list) in &self.lists {
            list.borrow_mut().refill(&values, self.count(), self.columns[*layer].start)?;
        }
        Ok(())
    }

    /// Makes the gates (N, c) of evaluation, 0 or 1, of gate logits (N, outputs of the gater).
    pub(super) fn evaluate(
        &self,
        gate_logits: &CudaBuffer<f32>,
        values: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let Some(rule) = &self.rule else { return Ok(()) };
        rule.fill(gate_logits, values, |gates| match rule.rule.selection() {
            Selection::Largest => Ok(gate_largest::top_k(&rule.layers, gate_logits, gates)?),
            Selection::Threshold => Ok(sem_hash::hard(gate_logits, gates)?),
        })
    }

    /// Makes the gates of training, which `estimate` computes from these gate logits.
    pub(super) fn train(
        &self,
        gate_logits: &CudaBuffer<f32>,
        estimate: impl FnOnce(&mut CudaBuffer<f32>) -> Result<()>,
    ) -> Result<()> {
        let Some(rule) = &self.rule else { return Ok(()) };
        rule.fill(gate_logits, &mut self.values.borrow_mut(), estimate)
    }

    /// Gives `estimator` the gradient of the gates (N, outputs of the gater).
    pub(super) fn backward(
        &self,
        estimator: impl FnOnce(&CudaBuffer<f32>) -> Result<()>,
    ) -> Result<()> {
        let grad = self.grad.borrow();
        match self.rule.as_ref().and_then(|rule| rule.shared.as_ref()) {
            Some(Shared { filters, grad: shared, .. }) => {
                repeat_interleave::backward(filters, &grad, &mut shared.borrow_mut())?;
                estimator(&shared.borrow())
            }
            None => estimator(&grad),
        }
    }
}
