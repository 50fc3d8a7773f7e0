//! The plan of a network's gates: which convolutions are gated, and which gate columns are whose.

use std::ops::Range;

use gaternet_core::gate::Gates;
use gaternet_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::gating::gate_override::{self, GateOverride};
use crate::network::{ConvRole, ConvSpec};
use crate::networks::config::bounded;

/// The placement of gates: which filters of a residual network have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatePlacement {
    /// Filters of the last convolution of every block have gates, after its batch norm and before
    /// the shortcut is added, as in the paper. An inactive filter saves its fraction of that
    /// convolution; one gate for all filters of it also saves the inner convolution that only it
    /// reads, if that is as wide.
    #[default]
    #[serde(alias = "residual-output")]
    BlockOutput,
    /// Filters of the inner convolutions of every block have gates, after their batch norm and
    /// ReLU. An inactive filter saves its fraction of its own convolution and of the one that reads
    /// it as an input channel.
    #[serde(alias = "hidden")]
    Inner,
    /// Filters of both have gates: a convolution with gated filters that reads gated channels costs
    /// the product of the two active fractions.
    All,
}

impl GatePlacement {
    fn gates(self, role: ConvRole) -> bool {
        match role {
            ConvRole::Ungated => false,
            ConvRole::Inner => self != GatePlacement::BlockOutput,
            ConvRole::BlockOutput => self != GatePlacement::Inner,
        }
    }
}

/// A gated layer: the columns of its gates and of the gater's outputs that decide them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatedLayer {
    /// State-dict name of the convolution whose filters are gated.
    pub conv: String,
    /// Columns of the layer in the gates, one for each filter.
    pub columns: Range<usize>,
    /// Columns of the layer in the gater's output, one for each gate or shared gate.
    pub outputs: Range<usize>,
}

/// The gated layers that decide what a convolution computes; `None` is everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConvGates {
    /// Index of the gated layer whose gates switch its filters, which is the convolution itself.
    pub filters: Option<usize>,
    /// Index of the gated layer whose gates switch its input channels, which is the convolution
    /// that it reads.
    pub channels: Option<usize>,
    /// Index of the gated layer that alone reads it, if its own filters have no gates and the
    /// reader is as wide and has one gate for all filters or is depthwise: where that gate is
    /// closed nothing reads the filters, and they need not run either.
    pub reader: Option<usize>,
}

impl ConvGates {
    /// The gated layers that decide what is computed: `reader` stands in for `filters`, because
    /// unread filters need not run. Only `filters` multiply by gates.
    #[must_use]
    pub fn computed(self) -> ConvGates {
        ConvGates { filters: self.filters.or(self.reader), ..self }
    }
}

/// All gates of a network. The gater's width, the backbone and its costs all follow this plan.
///
/// Every filter of a gated layer has a gate. Consecutive filters may share one: a single
/// output of the gater decides them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatePlan {
    layers: Vec<GatedLayer>,
    convs: Vec<ConvGates>,
    /// Consecutive filters that share a gate; fewer at the end of a layer whose width is no
    /// multiple.
    filters_per_gate: usize,
}

impl GatePlan {
    /// Plans the gates of a network of `convs`, each shared by `filters_per_gate` filters; columns
    /// are in the order of the convolutions. The overrides change what the placement gates.
    ///
    /// # Errors
    /// [`Error::Config`] if an override names no convolution that can be gated, or
    /// `filters_per_gate` is not 1 to 65536.
    pub fn new(
        convs: &[ConvSpec],
        placement: GatePlacement,
        overrides: &[GateOverride],
        filters_per_gate: usize,
    ) -> Result<GatePlan> {
        bounded("filters_per_gate", filters_per_gate)?;
        let mut gated: Vec<bool> = convs.iter().map(|conv| placement.gates(conv.role)).collect();
        gate_override::apply(overrides, convs, &mut gated)?;
        let (mut end, mut outputs_end) = (0, 0);
        let gated = convs.iter().zip(gated).filter(|(_, gated)| *gated).map(|(conv, _)| {
            let (start, outputs_start) = (end, outputs_end);
            end += conv.out_channels;
            outputs_end += conv.out_channels.div_ceil(filters_per_gate);
            let (columns, outputs) = (start..end, outputs_start..outputs_end);
            GatedLayer { conv: conv.name.clone(), columns, outputs }
        });
        let layers: Vec<_> = gated.collect();
        let layer_of = |conv: &str| layers.iter().position(|layer| layer.conv == conv);
        // As wide, so that the reader's active filters are those of this one too: all or none, or
        // those that read one each.
        let reader_of = |conv: &ConvSpec| {
            let reader = convs.iter().find(|reader| reader.reads.as_ref() == Some(&conv.name))?;
            let layer = layer_of(&reader.name)?;
            let [one_gate, as_wide] =
                [layers[layer].outputs.len() == 1, reader.out_channels == conv.out_channels];
            ((one_gate || reader.depthwise) && as_wide).then_some(layer)
        };
        let gates_of = |conv: &ConvSpec| {
            let filters = layer_of(&conv.name);
            let channels = conv.reads.as_deref().filter(|_| !conv.depthwise).and_then(layer_of);
            let reader = if filters.is_none() { reader_of(conv) } else { None };
            ConvGates { filters, channels, reader }
        };
        let convs = convs.iter().map(gates_of).collect();
        Ok(GatePlan { layers, convs, filters_per_gate })
    }

    /// The gated layers, in the order of their columns.
    #[must_use]
    pub fn layers(&self) -> &[GatedLayer] {
        &self.layers
    }

    /// The gated layers of every convolution, in the order of the list that the plan was made of.
    #[must_use]
    pub fn convs(&self) -> &[ConvGates] {
        &self.convs
    }

    /// Number of gates, c: one for each filter of a gated layer.
    #[must_use]
    pub fn gates(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.columns.end)
    }

    /// Number of outputs of the gater, one for each gate or shared gate.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs.end)
    }

    /// Number of consecutive filters that share a gate; fewer at the end of a layer whose width is
    /// no multiple.
    #[must_use]
    pub fn filters_per_gate(&self) -> usize {
        self.filters_per_gate
    }

    /// Number of the gater's outputs for each gated layer.
    #[must_use]
    pub fn output_widths(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.outputs.len()).collect()
    }

    /// Number of filters of each output of the gater, the `repeats` of
    /// [`gaternet_core::ops::repeat_interleave`].
    #[must_use]
    pub fn repeats(&self) -> Vec<usize> {
        let of = |layer: &GatedLayer| {
            let firsts = layer.columns.clone().step_by(self.filters_per_gate);
            let end = layer.columns.end;
            firsts
                .map(move |first| (first + self.filters_per_gate).min(end) - first)
                .collect::<Vec<_>>()
        };
        self.layers.iter().flat_map(of).collect()
    }

    /// Checks that the gates are those of this plan: as many gated layers, and each as wide.
    ///
    /// # Errors
    /// [`Error::Shape`] with both lists of widths.
    pub fn check(&self, gates: &Gates) -> Result<()> {
        let (want, got) = (self.widths(), gates.widths());
        if want == got {
            return Ok(());
        }
        Err(Error::Shape {
            op: "gate plan",
            rule: "the gates must be of the model's plan, in layers of its widths",
            got: format!("widths {got:?}, the plan has {want:?}"),
        })
    }

    /// Number of filters of each gated layer.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.columns.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The convolutions of a stem, a bottleneck block with a shortcut and a basic block.
    fn convs() -> Vec<ConvSpec> {
        use ConvRole::{BlockOutput, Inner, Ungated};
        let table = [
            ("stem", 4, Ungated, None),
            ("a.conv1", 2, Inner, None),
            ("a.conv2", 3, Inner, Some("a.conv1")),
            ("a.conv3", 8, BlockOutput, Some("a.conv2")),
            ("a.shortcut", 8, Ungated, None),
            ("b.conv1", 5, Inner, None),
            ("b.conv2", 8, BlockOutput, Some("b.conv1")),
        ];
        let spec = |(name, out_channels, role, reads): (&str, _, _, Option<&str>)| ConvSpec {
            name: name.to_owned(),
            in_channels: 1,
            out_channels,
            kernel: [1, 1],
            out_size: [1, 1],
            role,
            reads: reads.map(str::to_owned),
            depthwise: false,
        };
        table.map(spec).to_vec()
    }

    #[test]
    fn columns_go_by_unit_and_by_convolution_within_it() {
        let columns = |placement| {
            let plan = GatePlan::new(&convs(), placement, &[], 1).expect("no overrides");
            let layers =
                plan.layers().iter().map(|layer| (layer.conv.clone(), layer.columns.clone()));
            layers.collect::<Vec<_>>()
        };
        let want = |layers: &[(&str, Range<usize>)]| {
            layers.iter().map(|(name, at)| ((*name).to_owned(), at.clone())).collect::<Vec<_>>()
        };
        assert_eq!(
            columns(GatePlacement::BlockOutput),
            want(&[("a.conv3", 0..8), ("b.conv2", 8..16)])
        );
        assert_eq!(
            columns(GatePlacement::Inner),
            want(&[("a.conv1", 0..2), ("a.conv2", 2..5), ("b.conv1", 5..10)])
        );
        assert_eq!(
            columns(GatePlacement::All),
            want(&[
                ("a.conv1", 0..2),
                ("a.conv2", 2..5),
                ("a.conv3", 5..13),
                ("b.conv1", 13..18),
                ("b.conv2", 18..26),
            ])
        );
    }

    #[test]
    fn filters_that_share_a_gate_have_one_output_and_the_last_may_be_fewer() {
        for (filters, outputs, repeats) in [
            (1, vec![0..2, 2..5, 5..10], vec![1; 10]),
            (2, vec![0..1, 1..3, 3..6], vec![2, 2, 1, 2, 2, 1]),
            (8, vec![0..1, 1..2, 2..3], vec![2, 3, 5]),
        ] {
            let plan = GatePlan::new(&convs(), GatePlacement::Inner, &[], filters).expect("valid");
            let columns: Vec<_> = plan.layers().iter().map(|layer| layer.columns.clone()).collect();
            assert_eq!(columns, [0..2, 2..5, 5..10]);
            let got: Vec<_> = plan.layers().iter().map(|layer| layer.outputs.clone()).collect();
            assert_eq!((got, plan.repeats()), (outputs, repeats), "{filters} filters a gate");
            assert_eq!((plan.gates(), plan.outputs()), (10, plan.repeats().len()));
            assert_eq!(plan.output_widths().iter().sum::<usize>(), plan.outputs());
        }
        let error = GatePlan::new(&convs(), GatePlacement::All, &[], 0).expect_err("none");
        assert!(error.to_string().contains("filters_per_gate = 0"), "{error}");
    }

    #[test]
    fn a_convolution_that_only_a_gated_unit_of_its_width_reads_knows_its_gate() {
        let mut convs = convs();
        let readers = |convs: &[ConvSpec], placement, filters| {
            let plan = GatePlan::new(convs, placement, &[], filters).expect("valid");
            let reader = |(conv, layers): (&ConvSpec, &ConvGates)| {
                let layer = layers.reader?;
                assert_eq!((layers.filters, layers.computed().filters), (None, Some(layer)));
                Some((conv.name.clone(), plan.layers()[layer].conv.clone()))
            };
            convs.iter().zip(plan.convs()).filter_map(reader).collect::<Vec<_>>()
        };
        let output = GatePlacement::BlockOutput;
        assert_eq!(readers(&convs, output, 8), [], "5 filters for 8, 3 for 8");
        convs[5].out_channels = 8;
        let b = ("b.conv1".to_owned(), "b.conv2".to_owned());
        assert_eq!(readers(&convs, output, 8), [b]);
        assert_eq!(readers(&convs, output, 4), [], "two gates");
        for placement in [GatePlacement::Inner, GatePlacement::All] {
            assert_eq!(readers(&convs, placement, 8), [], "its own gate decides: {placement:?}");
        }
    }

    #[test]
    fn names_decide_over_the_placement() {
        let gated = |placement, overrides: &[(&str, bool)]| {
            let overrides: Vec<_> = overrides
                .iter()
                .map(|&(convs, gated)| GateOverride { convs: convs.to_owned(), gated })
                .collect();
            let plan = GatePlan::new(&convs(), placement, &overrides, 1)?;
            Ok::<_, Error>(plan.layers().iter().map(|s| s.conv.clone()).collect::<Vec<_>>())
        };
        let inner = GatePlacement::Inner;
        assert_eq!(gated(inner, &[("a.*", false)]).expect("valid"), ["b.conv1"]);
        assert_eq!(
            gated(inner, &[("*.conv2", true), ("?.conv1", false)]).expect("valid"),
            ["a.conv2", "b.conv2"]
        );
        // The last override that matches decides.
        let last = [("*", false), ("b.*", true)];
        assert_eq!(gated(inner, &last).expect("valid"), ["b.conv1", "b.conv2"]);
        assert_eq!(gated(inner, &[("*", false)]).expect("valid"), [""; 0]);
        for pattern in ["c.*", "stem", "*.shortcut"] {
            let text = gated(inner, &[(pattern, true)]).expect_err("no such").to_string();
            let names = "(of a.conv1, a.conv2, a.conv3, b.conv1, b.conv2)";
            assert!(text.contains(pattern) && text.contains(names), "{text}");
        }
        let text = gated(inner, &[("a[", true)]).expect_err("no pattern").to_string();
        assert!(text.contains("gate override = a["), "{text}");
    }

    #[test]
    fn a_convolution_knows_the_layers_of_its_filters_and_of_its_channels() {
        let layers = |placement| {
            let plan = GatePlan::new(&convs(), placement, &[], 1).expect("no overrides");
            plan.convs().iter().map(|conv| (conv.filters, conv.channels)).collect::<Vec<_>>()
        };
        let none = (None, None);
        assert_eq!(
            layers(GatePlacement::BlockOutput),
            [none, none, none, (Some(0), None), none, none, (Some(1), None)]
        );
        assert_eq!(
            layers(GatePlacement::Inner),
            [
                none,
                (Some(0), None),
                (Some(1), Some(0)),
                (None, Some(1)),
                none,
                (Some(2), None),
                (None, Some(2)),
            ]
        );
        assert_eq!(
            layers(GatePlacement::All),
            [
                none,
                (Some(0), None),
                (Some(1), Some(0)),
                (Some(2), Some(1)),
                none,
                (Some(3), None),
                (Some(4), Some(3)),
            ]
        );
    }
}
