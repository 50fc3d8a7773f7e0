//! Which filters of a gated network are left once some gates are settled.

use crate::gating::gate_plan::{ConvSlots, GatePlan};

/// What becomes of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Dropped: its gate counts as closed.
    Gone,
    /// Its gate decides.
    Gated,
    /// It always runs: its gate counts as open.
    Open,
}

/// The filters of a gated network that are not dropped.
pub(crate) struct Kept<'a> {
    plan: &'a GatePlan,
    slots: Vec<KeptSlot>,
    /// The one filter, always closed, of a hidden convolution that nothing reads any more.
    unread: KeptSlot,
}

/// The filters of a slot that are not dropped.
pub(crate) struct KeptSlot {
    /// Their numbers, ascending.
    pub(crate) filters: Vec<u32>,
    /// Whether the output has planes of these only. What only reads gated channels can do without the
    /// others; a residual output cannot, its planes hold the shortcut too.
    pub(crate) compact: bool,
    /// What opens each plane of the output.
    pub(crate) gates: Vec<PlaneGate>,
}

impl KeptSlot {
    /// Nothing: a convolution has at least one filter and one channel.
    fn one_closed() -> KeptSlot {
        KeptSlot { filters: vec![0], compact: true, gates: vec![PlaneGate::Closed] }
    }
}

/// What opens a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaneGate {
    /// This column of the gates.
    Column(usize),
    Open,
    Closed,
}

impl<'a> Kept<'a> {
    /// `fates` (c); without them every gate decides.
    pub(crate) fn new(plan: &'a GatePlan, fates: Option<&[Fate]>) -> Kept<'a> {
        let fate = |column: usize| fates.map_or(Fate::Gated, |fates| fates[column]);
        let mut filters: Vec<Vec<u32>> = plan
            .slots()
            .iter()
            .map(|slot| {
                let kept = slot.columns.clone().zip(0..);
                kept.filter(|(column, _)| fate(*column) != Fate::Gone).map(|(_, f)| f).collect()
            })
            .collect();
        // What only convolutions without filters read is needed no more. Readers come later.
        for conv in plan.convs().iter().rev() {
            if let ConvSlots { filters: Some(output), channels: Some(input), .. } = conv.computed()
                && filters[output].is_empty()
            {
                filters[input].clear();
            }
        }
        let slots = filters.into_iter().enumerate().map(|(number, filters)| {
            let first = plan.slots()[number].columns.start;
            let gate = |filter: u32| match fate(first + filter as usize) {
                Fate::Open => PlaneGate::Open,
                Fate::Gated | Fate::Gone => PlaneGate::Column(first + filter as usize),
            };
            let compact = plan.convs().iter().any(|conv| conv.channels == Some(number));
            if compact && filters.is_empty() {
                return KeptSlot::one_closed();
            }
            let gates = match compact {
                true => filters.iter().map(|filter| gate(*filter)).collect(),
                false => {
                    let planes = 0..plan.slots()[number].columns.len() as u32;
                    let kept = |filter: &u32| filters.binary_search(filter).is_ok();
                    let gate = |f| if kept(&f) { gate(f) } else { PlaneGate::Closed };
                    planes.map(gate).collect()
                }
            };
            KeptSlot { filters, compact, gates }
        });
        Kept { plan, slots: slots.collect(), unread: KeptSlot::one_closed() }
    }

    pub(crate) fn plan(&self) -> &GatePlan {
        self.plan
    }

    pub(crate) fn slots(&self) -> &[KeptSlot] {
        &self.slots
    }

    /// What is kept of the filters and of the channels of a convolution; `None` is all.
    pub(crate) fn conv(&self, number: usize) -> Pruning<'_> {
        let ConvSlots { filters, channels, .. } = self.plan.convs()[number].computed();
        let slot = |slot: Option<usize>| slot.map(|slot| &self.slots[slot]);
        Pruning { filters: slot(filters), channels: slot(channels) }
    }

    /// [`conv`](Self::conv) for a network without lists: the hidden convolution of a unit that one gate closed for good
    /// keeps a single filter, where a plan with lists computes none of them.
    pub(crate) fn unlisted_conv(&self, number: usize) -> Pruning<'_> {
        let slots = self.plan.convs()[number];
        let closed = |slot: usize| self.slots[slot].filters.is_empty();
        let read = |slot: usize| self.plan.convs().iter().any(|conv| conv.reader == Some(slot));
        let mut kept = self.conv(number);
        if slots.reader.is_some_and(closed) {
            kept.filters = Some(&self.unread);
        }
        if slots.filters.is_some_and(|slot| closed(slot) && read(slot)) {
            kept.channels = Some(&self.unread);
        }
        kept
    }

    /// The slots whose lists a convolution needs: not those that are open throughout.
    pub(crate) fn listed(&self, number: usize) -> ConvSlots {
        let slots = self.plan.convs()[number].computed();
        let open = |slot: &usize| self.slots[*slot].gates.iter().all(|g| *g == PlaneGate::Open);
        let listed = |slot: Option<usize>| slot.filter(|slot| !open(slot));
        ConvSlots { filters: listed(slots.filters), channels: listed(slots.channels), ..slots }
    }
}

/// What is kept of an op with gates, or of one that reads gated channels.
#[derive(Clone, Copy, Default)]
pub struct Pruning<'a> {
    pub(crate) filters: Option<&'a KeptSlot>,
    pub(crate) channels: Option<&'a KeptSlot>,
}

impl<'a> Pruning<'a> {
    /// Whether nothing is dropped.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.filters.is_none() && self.channels.is_none()
    }

    /// Numbers of the filters that remain, ascending; `None` if all have their place.
    #[must_use]
    pub fn filters(&self) -> Option<&'a [u32]> {
        self.filters.filter(|slot| slot.compact).map(|slot| &slot.filters[..])
    }

    /// Numbers of the input channels that remain, ascending; `None` is all.
    #[must_use]
    pub fn channels(&self) -> Option<&'a [u32]> {
        self.channels.map(|slot| &slot.filters[..])
    }

    /// Numbers, among the filters that remain, of those whose output is 0: they keep their place
    /// in the output of a block, or stand for the one that a layer must have.
    #[must_use]
    pub fn zero_filters(&self) -> Vec<usize> {
        let gates = self.filters.map_or(&[][..], |slot| &slot.gates);
        (0..gates.len()).filter(|filter| gates[*filter] == PlaneGate::Closed).collect()
    }

    /// Numbers of filters and of channels, of `[F, C]`.
    pub(crate) fn sizes(&self, [filters, channels]: [usize; 2]) -> [usize; 2] {
        let kept = |kept: Option<&[u32]>, all| kept.map_or(all, <[u32]>::len);
        [kept(self.filters(), filters), kept(self.channels(), channels)]
    }

    /// What remains of `weight`, (F, `channels`, `taps`).
    pub(crate) fn weight(&self, weight: &[f32], channels: usize, taps: usize) -> Vec<f32> {
        let Some(kept) = self.channels() else { return self.per_filter(weight, channels * taps) };
        let filters = weight.chunks_exact(channels * taps);
        let weight: Vec<f32> = filters.flat_map(|filter| gather(filter, taps, kept)).collect();
        self.per_filter(&weight, kept.len() * taps)
    }

    /// What remains of `values`, (F, `len`).
    #[must_use]
    pub fn per_filter(&self, values: &[f32], len: usize) -> Vec<f32> {
        match self.filters() {
            Some(filters) => gather(values, len, filters),
            None => values.to_vec(),
        }
    }
}

/// Numbers `kept` of the chunks of `len` values.
fn gather(values: &[f32], len: usize, kept: &[u32]) -> Vec<f32> {
    let chunk = |at: &u32| &values[*at as usize * len..(*at as usize + 1) * len];
    kept.iter().flat_map(chunk).copied().collect()
}
