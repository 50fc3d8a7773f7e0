//! From a network and the gates of a plan to the steps that run.

use std::sync::Arc;

use gaternet_core::nn::BatchNorm2d;
use gaternet_core::{Ctx, Result};

use super::gate::{Gate, GatePosition};
use crate::gating::gate_plan::ConvSlots;
use crate::gating::pruning::{Kept, Pruning};
use crate::network::{Network, Step as NetworkStep, output_shape};
use crate::ops::Op;
use crate::plan::Lists;

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Steps that only training changes are there.
    Train,
    /// They are left out.
    Infer,
}

/// A step: `relu(gate · norm(op(inputs)) + residual)`, or `gate · relu(norm(op(inputs)))`.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// State-dict name, or what stands for one.
    pub(crate) name: String,
    pub(crate) op: Arc<dyn Op>,
    pub(crate) norm: Option<BatchNorm2d>,
    /// Numbers of the values: 0 is the images, i + 1 what step i of the program makes.
    pub(crate) inputs: Vec<usize>,
    pub(crate) residual: Option<usize>,
    pub(crate) relu: bool,
    /// What multiplies the filters.
    pub(crate) gate: Option<Gate>,
    /// By whose gates filters and channels are inactive; of filters without gates, those of the
    /// only layer that reads them.
    pub(crate) lists: Lists,
    /// Whether the only reader is a layer that gathers the active channels.
    pub(crate) gathered: bool,
    /// Whether all readers list the active channels: what is in the others does not matter.
    pub(crate) listed: bool,
    /// Number among the layers with filters, if it is one.
    pub(crate) number: Option<usize>,
    /// How many steps read the output.
    pub(crate) readers: usize,
    /// Values that no later step reads.
    pub(crate) done: Vec<usize>,
}

/// The steps of a network in one mode, with the gates of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    channels: usize,
    pub(super) steps: Vec<Step>,
    /// Of the output.
    pub(super) output: usize,
}

impl Mode {
    /// That of a pass on tensors.
    pub(crate) fn of(ctx: &Ctx) -> Mode {
        if ctx.training() { Mode::Train } else { Mode::Infer }
    }
}

impl Program {
    /// Without `kept` no filter has a gate.
    pub(crate) fn new(network: &Network, kept: Option<&Kept<'_>>, mode: Mode) -> Program {
        let mut steps: Vec<Step> = Vec::with_capacity(network.steps().len());
        // The program's number of each value of the network.
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

    /// (C, H, W) of each value for images of `size` (H, W), with the filters that are kept.
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

    /// Of these shapes, those of what is kept.
    pub(crate) fn kept_shapes(
        &self,
        shapes: &[[usize; 3]],
        kept: Option<&Kept<'_>>,
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

    fn add_readers(&mut self, kept: Option<&Kept<'_>>) {
        let mut last_read: Vec<Option<usize>> = vec![None; self.steps.len() + 1];
        let mut readers = vec![0; self.steps.len() + 1];
        for (at, step) in self.steps.iter().enumerate() {
            for value in step.reads() {
                last_read[value] = Some(at);
                readers[value] += 1;
            }
        }
        for at in 0..self.steps.len() {
            let (gathered, listed) = (self.is_gathered(at, kept), self.is_listed(at));
            let step = &mut self.steps[at];
            (step.readers, step.gathered, step.listed) = (readers[at + 1], gathered, listed);
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

    /// Whether the only reader of step `at` takes its filters' gates for those of its channels.
    fn is_gathered(&self, at: usize, kept: Option<&Kept<'_>>) -> bool {
        let reads_gated = |step: &Step| step.slots(kept).channels.is_some();
        self.steps.iter().any(|step| step.inputs[0] == at + 1 && reads_gated(step))
    }

    /// Whether the output of step `at` is hidden: read by convolutions alone, by its active channels
    /// or, where the same gate switches both, not at all.
    fn is_listed(&self, at: usize) -> bool {
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
    pub(crate) fn slots(&self, kept: Option<&Kept<'_>>) -> ConvSlots {
        let slots = self.number.zip(kept).map(|(number, kept)| kept.plan().convs()[number]);
        slots.unwrap_or_default()
    }

    /// What is kept of it.
    pub(crate) fn pruning<'a>(&self, kept: Option<&'a Kept<'_>>) -> Pruning<'a> {
        let pruning = self.number.zip(kept).map(|(number, kept)| kept.conv(number));
        pruning.unwrap_or_default()
    }
}

fn is_left_out(step: &NetworkStep, mode: Mode) -> bool {
    let alone = step.norm.is_none() && step.residual.is_none() && !step.relu;
    alone && step.op.is_identity(mode == Mode::Train)
}

fn lower(step: &NetworkStep, values: &[usize], kept: Option<&Kept<'_>>) -> Step {
    let of = |number: usize, kept: &Kept<'_>| {
        let listed = kept.listed(number);
        let lists = Lists { filters: listed.filters, channels: listed.channels };
        (kept.plan().convs()[number].filters, lists)
    };
    let (slot, lists) =
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
        gate: slot.map(|slot| Gate { slot, position }),
        lists,
        gathered: false,
        listed: false,
        number: step.number,
        readers: 0,
        done: Vec::new(),
    }
}
