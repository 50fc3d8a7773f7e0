//! Lowering: from a network and the gates of a plan to the steps that run.

use std::sync::Arc;

use gaternet_core::nn::BatchNorm2d;
use gaternet_core::{Ctx, Result};

use super::gate::{Gate, GatePosition};
use crate::gating::gate_plan::ConvGates;
use crate::gating::pruning::{Pruning, PruningMap};
use crate::network::{Network, Step as NetworkStep, output_shape};
use crate::ops::Op;
use crate::plan::Lists;

/// The purpose of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Training: the program has all steps.
    Train,
    /// Evaluation: steps that only training changes, as dropout, are left out.
    Infer,
}

/// A step: `relu(gate · norm(op(inputs)) + residual)`, or `gate · relu(norm(op(inputs)))`.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// State-dict name of the op, or `step` and a number for one without state.
    pub(crate) name: String,
    pub(crate) op: Arc<dyn Op>,
    pub(crate) norm: Option<BatchNorm2d>,
    /// Numbers of the values that the op takes: 0 is the images, i + 1 the output of step i of the
    /// program.
    pub(crate) inputs: Vec<usize>,
    pub(crate) residual: Option<usize>,
    pub(crate) relu: bool,
    /// The gates that multiply the filters.
    pub(crate) gate: Option<Gate>,
    /// The gated layers by whose lists filters and channels are inactive; filters without gates go
    /// by those of the only layer that reads them.
    pub(crate) lists: Lists,
    /// Whether the output may be compact: its only reader takes the active channels alone.
    pub(crate) compact: bool,
    /// Whether all readers leave out inactive channels: what is in those does not matter.
    pub(crate) readers_skip: bool,
    /// Number among the layers with filters, if it is one.
    pub(crate) number: Option<usize>,
    /// Number of steps that read the output.
    pub(crate) readers: usize,
    /// Values that no later step reads.
    pub(crate) done: Vec<usize>,
}

/// The steps of a network in one mode, with the gates of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    channels: usize,
    pub(super) steps: Vec<Step>,
    /// Number of the value that is the output.
    pub(super) output: usize,
}

impl Mode {
    /// The mode of a pass on tensors.
    pub(crate) fn of(ctx: &Ctx) -> Mode {
        if ctx.training() { Mode::Train } else { Mode::Infer }
    }
}

impl Program {
    /// Lowers `network`; without `kept` no filter has a gate.
    pub(crate) fn new(network: &Network, kept: Option<&PruningMap<'_>>, mode: Mode) -> Program {
        let mut steps: Vec<Step> = Vec::with_capacity(network.steps().len());
        // The number that each value of the network has in the program.
        let mut values = vec![0];
        for step in network.steps() {
            if is_left_out(step, mode) {
                values.push(values[step.inputs[0]]);
                continue;
            }
            steps.push(lower(step, &values, kept));
            values.push(steps.len());
        }
        let output = values[values.len() - 1];
        let mut program = Program { channels: network.channels(), steps, output };
        program.add_readers(kept);
        program
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Number of the value that is the output.
    pub(crate) fn output(&self) -> usize {
        self.output
    }

    /// Shape (C, H, W) of each value for images of `size` (H, W), with all filters.
    ///
    /// # Errors
    /// If images of this size do not fit; the error names the layer.
    pub(crate) fn shapes(&self, [h, w]: [usize; 2]) -> Result<Vec<[usize; 3]>> {
        let mut shapes = vec![[self.channels, h, w]];
        for step in &self.steps {
            let shape = output_shape(&*step.op, &step.inputs, step.residual, &shapes);
            shapes.push(shape.map_err(|error| error.at(&step.name))?);
        }
        Ok(shapes)
    }

    /// `shapes` with the channels that are kept.
    pub(crate) fn kept_shapes(
        &self,
        shapes: &[[usize; 3]],
        kept: Option<&PruningMap<'_>>,
    ) -> Vec<[usize; 3]> {
        let mut kept_shapes = vec![shapes[0]];
        for (step, &[channels, h, w]) in self.steps.iter().zip(&shapes[1..]) {
            let channels = match step.op.keeps_zeros() {
                true => kept_shapes[step.inputs[0]][0],
                false => step.pruning(kept).sizes([channels, 0])[0],
            };
            kept_shapes.push([channels, h, w]);
        }
        kept_shapes
    }

    fn add_readers(&mut self, kept: Option<&PruningMap<'_>>) {
        let mut last_read: Vec<Option<usize>> = vec![None; self.steps.len() + 1];
        let mut readers = vec![0; self.steps.len() + 1];
        for (at, step) in self.steps.iter().enumerate() {
            for value in step.reads() {
                last_read[value] = Some(at);
                readers[value] += 1;
            }
        }
        for at in 0..self.steps.len() {
            let (compact, readers_skip) =
                (self.is_compact(at, kept), self.readers_skip_inactive(at));
            let step = &mut self.steps[at];
            (step.readers, step.compact, step.readers_skip) =
                (readers[at + 1], compact, readers_skip);
        }
        for (value, at) in last_read.into_iter().enumerate() {
            if let Some(at) = at.filter(|_| value != self.output) {
                self.steps[at].done.push(value);
            }
        }
    }

    fn readers_of(&self, at: usize) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.reads().any(|value| value == at + 1))
    }

    /// Whether a step takes the gated filters of step `at` as its gated channels, so that the
    /// output may be compact.
    fn is_compact(&self, at: usize, kept: Option<&PruningMap<'_>>) -> bool {
        let reads_gated = |step: &Step| step.conv_gates(kept).channels.is_some();
        self.steps.iter().any(|step| step.inputs[0] == at + 1 && reads_gated(step))
    }

    /// Whether every reader of the output of step `at` leaves out its inactive channels: by its
    /// list of channels or, where the reader's gates switch both, by its list of filters. A
    /// residual reads all.
    fn readers_skip_inactive(&self, at: usize) -> bool {
        let step = &self.steps[at];
        let Some(filters) = step.lists.filters else { return false };
        let by_reader = step.gate.is_none();
        let lists = |reader: &Step| match by_reader {
            true => reader.lists.filters == Some(filters) && reader.number.is_some(),
            false => reader.lists.channels == Some(filters) && reader.op.skips_channels(),
        };
        let adds = |reader: &Step| reader.residual == Some(at + 1);
        self.output != at + 1 && self.readers_of(at).all(|reader| lists(reader) && !adds(reader))
    }
}

impl Step {
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().copied().chain(self.residual)
    }

    /// The gated layers of its filters, of its channels and of its reader.
    pub(crate) fn conv_gates(&self, kept: Option<&PruningMap<'_>>) -> ConvGates {
        let gates = self.number.zip(kept).map(|(number, kept)| kept.plan().convs()[number]);
        gates.unwrap_or_default()
    }

    /// The filters and channels that pruning keeps.
    pub(crate) fn pruning<'a>(&self, kept: Option<&'a PruningMap<'_>>) -> Pruning<'a> {
        let pruning = self.number.zip(kept).map(|(number, kept)| kept.conv(number));
        pruning.unwrap_or_default()
    }
}

fn is_left_out(step: &NetworkStep, mode: Mode) -> bool {
    let alone = step.norm.is_none() && step.residual.is_none() && !step.relu;
    alone && step.op.is_identity(mode == Mode::Train)
}

fn lower(step: &NetworkStep, values: &[usize], kept: Option<&PruningMap<'_>>) -> Step {
    let of = |number: usize, kept: &PruningMap<'_>| {
        let listed = kept.listed_layers(number);
        let lists = Lists { filters: listed.filters, channels: listed.channels };
        (kept.plan().convs()[number].filters, lists)
    };
    let (layer, lists) =
        step.number.zip(kept).map_or((None, Lists::default()), |(number, kept)| of(number, kept));
    let position = match step.relu && step.residual.is_none() {
        true => GatePosition::AfterRelu,
        false => GatePosition::BeforeSum,
    };
    Step {
        name: step.name.clone(),
        op: step.op.clone(),
        norm: step.norm.as_ref().map(|(_, norm)| norm.clone()),
        inputs: step.inputs.iter().map(|value| values[*value]).collect(),
        residual: step.residual.map(|value| values[value]),
        relu: step.relu,
        gate: layer.map(|layer| Gate { layer, position }),
        lists,
        compact: false,
        readers_skip: false,
        number: step.number,
        readers: 0,
        done: Vec::new(),
    }
}
