//! Programs on tensors, with gradients where they are asked for.

use gaternet_core::gate::Gates;
use gaternet_core::nn::Epilogue;
use gaternet_core::ops::Active;
use gaternet_core::{Ctx, Result, Tensor, ops};

use super::gate::{Gate, GatePosition};
use super::lowering::{Mode, Program, Step};
use crate::network::Network;
use crate::program::finite;

/// The gates of a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gating<'a> {
    pub(crate) gates: &'a Gates,
    /// Whether inactive filters are left out; otherwise they are computed and discarded, which
    /// batch statistics and the straight-through gradient of their gates need.
    pub(crate) skip: bool,
}

impl Network {
    /// Output (N, features) of the network for `images` (N, C, H, W).
    ///
    /// # Errors
    /// If the images do not fit the network: the error names the layer, the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        Program::new(self, None, Mode::of(ctx)).run(images, None, ctx)
    }
}

impl Program {
    /// The output for `images` (N, C, H, W); without gates every filter is active.
    pub(crate) fn run(
        &self,
        images: &Tensor,
        gating: Option<Gating<'_>>,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        finite::check_images("network", images)?;
        if let [0, _, h, w] = *images.dims() {
            return self.of_nothing([h, w]);
        }
        // A value (N, C, H, W) or (N, C) is there as long as a later step reads it.
        let mut values = vec![Some(ctx.input(images))];
        for step in &self.steps {
            let output = forward(step, &values, gating, ctx);
            values.push(Some(output.map_err(|error| error.at(&step.name))?));
            step.done.iter().for_each(|value| values[*value] = None);
        }
        Ok(values.swap_remove(self.output).unwrap_or_else(|| images.clone()))
    }
}

impl Program {
    /// The output for a batch without images.
    fn of_nothing(&self, size: [usize; 2]) -> Result<Tensor> {
        match self.shapes(size)?[self.output] {
            [features, 1, 1] => Tensor::zeros([0, features]),
            [channels, h, w] => Tensor::zeros([0, channels, h, w]),
        }
    }
}

fn forward(
    step: &Step,
    values: &[Option<Tensor>],
    gating: Option<Gating<'_>>,
    ctx: &mut Ctx,
) -> Result<Tensor> {
    let value = |value: usize| values[value].as_ref().expect("a value lives until its last reader");
    let inputs: Vec<_> = step.inputs.iter().map(|input| value(*input)).collect();
    let (residual, relu) = (step.residual.map(value), step.relu);
    let (gates, active) = match gating {
        Some(gating) => (values_of(step, gating)?, active(step, gating)),
        None => (None, Active::default()),
    };
    let y = step.op.forward(&inputs, &active, ctx)?;
    let (before, after) = match (step.gate, gates) {
        (Some(Gate { position: GatePosition::AfterRelu, .. }), gates) if ctx.tracks() => {
            (None, gates)
        }
        (_, gates) => (gates, None),
    };
    let y = match &step.norm {
        Some(norm) => {
            let epilogue = Epilogue::default().with_gates(before.as_ref());
            norm.forward(&y, ctx, epilogue.with_residual(residual).with_relu(relu))?
        }
        None => finish(gated(y, before.as_ref())?, residual, relu)?,
    };
    gated(y, after.as_ref())
}

/// The gates (N, F) that multiply the outputs of the filters; `None` if the filters have no gates.
fn values_of(step: &Step, gating: Gating<'_>) -> Result<Option<Tensor>> {
    let gates = step.gate.map(|gate| gating.gates.layer(gate.layer)).transpose()?;
    Ok(gates.map(|gates| gates.values))
}

/// The filters to be computed and the channels to be read.
fn active(step: &Step, Gating { gates, skip }: Gating<'_>) -> Active {
    if !skip {
        return Active::default();
    }
    let list = |layer: Option<usize>| layer.and_then(|layer| gates.active(layer)).cloned();
    Active::default()
        .with_filters(list(step.lists.filters))
        .with_channels(list(step.lists.channels))
}

fn gated(x: Tensor, gates: Option<&Tensor>) -> Result<Tensor> {
    gates.map_or(Ok(x.clone()), |gates| ops::gate(&x, gates))
}

/// Computes `relu(y + residual)`.
fn finish(mut y: Tensor, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
    if let Some(residual) = residual {
        y = ops::add(&y, residual)?;
    }
    if relu { ops::relu(&y) } else { Ok(y) }
}
