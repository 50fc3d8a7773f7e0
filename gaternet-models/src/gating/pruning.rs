//! Pruning: which filters of a gated network are left once some gates are constant.

use crate::gating::gate_plan::{ConvGates, GatePlan};

/// The fate of a filter after calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The filter is pruned: its gate counts as closed.
    Pruned,
    /// The filter is active where its gate is open, as without calibration.
    Dynamic,
    /// The filter always runs: its gate counts as open.
    AlwaysOn,
}

/// The filters that are left of each layer of a gated network, and what opens them.
pub(crate) struct PruningMap<'a> {
    plan: &'a GatePlan,
    layers: Vec<KeptLayer>,
    /// The one filter, never active, of an inner convolution that nothing reads any more.
    unread: KeptLayer,
}

/// The filters that are left of a gated layer.
pub(crate) struct KeptLayer {
    /// Numbers of the filters, ascending.
    pub(crate) filters: Vec<u32>,
    /// Whether the output has feature maps of these filters only. An inner convolution's has,
    /// because whatever reads it reads gated channels; the last convolution of a block keeps all,
    /// because its output holds the shortcut too.
    pub(crate) compact: bool,
    /// The gate of each feature map of the output.
    pub(crate) gates: Vec<PlaneGate>,
}

impl KeptLayer {
    /// The layer of which no filter is left: a convolution must have at least one filter and one
    /// channel.
    fn one_inactive() -> KeptLayer {
        KeptLayer { filters: vec![0], compact: true, gates: vec![PlaneGate::Closed] }
    }
}

/// The gate of a feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaneGate {
    /// The gate in this column.
    Column(usize),
    Open,
    Closed,
}

impl<'a> PruningMap<'a> {
    /// The map for the states `fates` (c) of all filters; without them every filter is dynamic.
    pub(crate) fn new(plan: &'a GatePlan, fates: Option<&[Fate]>) -> PruningMap<'a> {
        let fate = |column: usize| fates.map_or(Fate::Dynamic, |fates| fates[column]);
        let mut filters: Vec<Vec<u32>> = plan
            .layers()
            .iter()
            .map(|layer| {
                let kept = layer.columns.clone().zip(0..);
                kept.filter(|(column, _)| fate(*column) != Fate::Pruned).map(|(_, f)| f).collect()
            })
            .collect();
        // A layer that only convolutions without filters read is not needed any more. Readers come
        // later.
        for conv in plan.convs().iter().rev() {
            if let ConvGates { filters: Some(output), channels: Some(input), .. } = conv.computed()
                && filters[output].is_empty()
            {
                filters[input].clear();
            }
        }
        let layers = filters.into_iter().enumerate().map(|(number, filters)| {
            let first = plan.layers()[number].columns.start;
            let gate = |filter: u32| match fate(first + filter as usize) {
                Fate::AlwaysOn => PlaneGate::Open,
                Fate::Dynamic | Fate::Pruned => PlaneGate::Column(first + filter as usize),
            };
            let compact = plan.convs().iter().any(|conv| conv.channels == Some(number));
            if compact && filters.is_empty() {
                return KeptLayer::one_inactive();
            }
            let gates = match compact {
                true => filters.iter().map(|filter| gate(*filter)).collect(),
                false => {
                    let planes = 0..plan.layers()[number].columns.len() as u32;
                    let kept = |filter: &u32| filters.binary_search(filter).is_ok();
                    let gate = |f| if kept(&f) { gate(f) } else { PlaneGate::Closed };
                    planes.map(gate).collect()
                }
            };
            KeptLayer { filters, compact, gates }
        });
        PruningMap { plan, layers: layers.collect(), unread: KeptLayer::one_inactive() }
    }

    pub(crate) fn plan(&self) -> &GatePlan {
        self.plan
    }

    pub(crate) fn layers(&self) -> &[KeptLayer] {
        &self.layers
    }

    /// The filters and channels that are kept of a convolution; `None` is all.
    pub(crate) fn conv(&self, number: usize) -> Pruning<'_> {
        let ConvGates { filters, channels, .. } = self.plan.convs()[number].computed();
        let kept = |layer: Option<usize>| layer.map(|layer| &self.layers[layer]);
        Pruning { filters: kept(filters), channels: kept(channels) }
    }

    /// [`conv`](Self::conv) for a network without lists: the inner convolution of a block that one
    /// gate closes for good keeps a single filter, where a plan with lists computes none of them.
    pub(crate) fn conv_without_lists(&self, number: usize) -> Pruning<'_> {
        let conv = self.plan.convs()[number];
        let pruned = |layer: usize| self.layers[layer].filters.is_empty();
        let read = |layer: usize| self.plan.convs().iter().any(|conv| conv.reader == Some(layer));
        let mut kept = self.conv(number);
        if conv.reader.is_some_and(pruned) {
            kept.filters = Some(&self.unread);
        }
        if conv.filters.is_some_and(|layer| pruned(layer) && read(layer)) {
            kept.channels = Some(&self.unread);
        }
        kept
    }

    /// The gated layers whose lists a convolution needs: not those whose filters are always on.
    pub(crate) fn listed_layers(&self, number: usize) -> ConvGates {
        let conv = self.plan.convs()[number].computed();
        let always_on =
            |layer: &usize| self.layers[*layer].gates.iter().all(|g| *g == PlaneGate::Open);
        let listed = |layer: Option<usize>| layer.filter(|layer| !always_on(layer));
        ConvGates { filters: listed(conv.filters), channels: listed(conv.channels), ..conv }
    }
}

/// The filters and channels that pruning keeps of an op.
#[derive(Clone, Copy, Default)]
pub struct Pruning<'a> {
    pub(crate) filters: Option<&'a KeptLayer>,
    pub(crate) channels: Option<&'a KeptLayer>,
}

impl<'a> Pruning<'a> {
    /// Whether nothing is pruned.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.filters.is_none() && self.channels.is_none()
    }

    /// Numbers of the filters that remain, ascending; `None` if all keep their place in the output.
    #[must_use]
    pub fn filters(&self) -> Option<&'a [u32]> {
        self.filters.filter(|layer| layer.compact).map(|layer| &layer.filters[..])
    }

    /// Numbers of the input channels that remain, ascending; `None` if all do.
    #[must_use]
    pub fn channels(&self) -> Option<&'a [u32]> {
        self.channels.map(|layer| &layer.filters[..])
    }

    /// Numbers, among the filters that remain, of those whose output is 0: they keep their place in
    /// the output of a block, or are the one that a layer must have.
    #[must_use]
    pub fn zero_filters(&self) -> Vec<usize> {
        let gates = self.filters.map_or(&[][..], |layer| &layer.gates);
        (0..gates.len()).filter(|filter| gates[*filter] == PlaneGate::Closed).collect()
    }

    /// Numbers [F, C] of filters and channels that remain of `[filters, channels]`.
    pub(crate) fn sizes(&self, [filters, channels]: [usize; 2]) -> [usize; 2] {
        let kept = |kept: Option<&[u32]>, all| kept.map_or(all, <[u32]>::len);
        [kept(self.filters(), filters), kept(self.channels(), channels)]
    }

    /// The part that remains of `weight`, (F, `channels`, `taps`).
    pub(crate) fn weight(&self, weight: &[f32], channels: usize, taps: usize) -> Vec<f32> {
        let Some(kept) = self.channels() else { return self.per_filter(weight, channels * taps) };
        let filters = weight.chunks_exact(channels * taps);
        let weight: Vec<f32> = filters.flat_map(|filter| gather(filter, taps, kept)).collect();
        self.per_filter(&weight, kept.len() * taps)
    }

    /// The part that remains of `values`, (F, `len`).
    #[must_use]
    pub fn per_filter(&self, values: &[f32], len: usize) -> Vec<f32> {
        match self.filters() {
            Some(filters) => gather(values, len, filters),
            None => values.to_vec(),
        }
    }
}

/// The chunks with the numbers `kept` of `values` in chunks of `len`.
fn gather(values: &[f32], len: usize, kept: &[u32]) -> Vec<f32> {
    let chunk = |at: &u32| &values[*at as usize * len..(*at as usize + 1) * len];
    kept.iter().flat_map(chunk).copied().collect()
}
