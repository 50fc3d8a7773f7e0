//! What training and inference read in the steps of a network.

use gaternet_kernels::Conv2dDims;
use gaternet_kernels::cuda::layout::{Rows, stride};

use super::buffers::{Map, Row};
use super::error::{Result, unsupported};
use super::maps::PairLayer;
use crate::gate_plan::{ConvSlots, GatePlan};
use crate::network::{ConvLayer, Layer, Network, Step};

/// A value of a network; O says whose gates have left channels out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<O> {
    /// Maps, dense.
    Map(Map),
    /// The open channels of maps.
    Open(Map, O),
    /// Vectors.
    Row(Row),
}

/// What a convolution computes, of what.
#[derive(Debug)]
pub(super) struct Conv<O> {
    pub(super) dims: Conv2dDims,
    pub(super) slots: ConvSlots,
    /// The side of the weight that lies in rows. A weight has one such side: if channels and filters are gated it is
    /// that of the channels, which save work in training too.
    pub(super) rows: Rows,
    pub(super) x: Map,
    /// Of x, if it is compact.
    pub(super) open: Option<O>,
    pub(super) residual: Option<Map>,
    /// (F, OH, OW).
    pub(super) shape: [usize; 3],
}

impl<O: Copy> Conv<O> {
    /// Of a step, whose inputs have these shapes and values, for a batch.
    pub(super) fn new(
        (step, layer): (&Step, &ConvLayer),
        batch: usize,
        shapes: &[[usize; 3]],
        values: &[Value<O>],
        plan: Option<&GatePlan>,
    ) -> Result<Conv<O>> {
        let slots = plan.map(|plan| plan.convs()[layer.number]).unwrap_or_default();
        let [channels, h, w] = shapes[step.inputs[0].0];
        let options = layer.conv.options();
        let input = [batch, channels, h, w];
        let dims = Conv2dDims::new(input, layer.conv.shape(), options.stride, options.padding)?;
        let [out_h, out_w] = dims.out_size();
        let (x, open) = match values[step.inputs[0].0] {
            Value::Map(x) => (x, None),
            Value::Open(x, open) => (x, Some(open)),
            Value::Row(_) => return unsupported("convolutions of vectors"),
        };
        Ok(Conv {
            dims,
            slots,
            rows: if slots.channels.is_some() { Rows::Channels } else { Rows::Filters },
            x,
            open,
            residual: residual(step, values)?,
            shape: [dims.out_channels(), out_h, out_w],
        })
    }
}

/// What a step adds.
pub(super) fn residual<O: Copy>(step: &Step, values: &[Value<O>]) -> Result<Option<Map>> {
    match step.residual.map(|value| values[value.0]) {
        None => Ok(None),
        Some(Value::Map(map)) => Ok(Some(map)),
        Some(_) => unsupported("adding vectors"),
    }
}

/// The maps that a step reads side by side, two at a time: `pair` makes one of two. `None` unless all are maps.
pub(super) fn concat<O: Copy>(
    step: &Step,
    shapes: &[[usize; 3]],
    values: &[Value<O>],
    mut pair: impl FnMut(PairLayer, [Map; 2], [usize; 3]) -> Map,
) -> Option<Map> {
    let mut inputs = step.inputs.iter().map(|input| match values[input.0] {
        Value::Map(map) => Some((map, shapes[input.0])),
        _ => None,
    });
    let (mut all, mut shape) = inputs.next()??;
    for input in inputs {
        let (next, [channels, ..]) = input?;
        let layer = PairLayer::Concat { first: shape[0] };
        shape[0] += channels;
        all = pair(layer, [all, next], shape);
    }
    Some(all)
}

/// Whether the open filters of the convolution at step `at` are the channels of the only convolution that reads them.
/// A dropout between them is no reader if it `passes` what it gets.
pub(super) fn wants_open_channels(
    network: &Network,
    plan: &GatePlan,
    at: usize,
    passes: bool,
) -> bool {
    let steps = network.steps();
    steps.iter().any(|step| {
        let Layer::Conv(layer) = &step.layer else { return false };
        let mut read = step.inputs[0].0;
        while let Some(Step { layer: Layer::Dropout(p), inputs, .. }) =
            read.checked_sub(1).map(|before| &steps[before])
            && (passes || *p == 0.0)
        {
            read = inputs[0].0;
        }
        read == at + 1 && plan.convs()[layer.number].channels.is_some()
    })
}

/// `Err` if vectors of this length are not maps of one pixel, as the kernel of batch norm takes them.
pub(super) fn check_row_norm(len: usize) -> Result<()> {
    if stride(len) == len {
        return Ok(());
    }
    unsupported(format!("batch norm of vectors whose length, {len}, is no multiple of 16"))
}

/// How many steps read each value.
pub(super) fn readers(network: &Network) -> Vec<usize> {
    let mut readers = vec![0; network.steps().len() + 1];
    for value in network.steps().iter().flat_map(|step| step.reads()) {
        readers[value.0] += 1;
    }
    readers
}

/// What a layer does, where there is no kernel for it.
pub(super) fn layer_name(layer: &Layer) -> &'static str {
    match layer {
        Layer::Conv(_) => "convolutions of vectors",
        Layer::BatchNorm(..) => "batch norm of vectors",
        Layer::Linear(..) => "linear layers of maps",
        Layer::Identity => "sums of vectors",
        Layer::MaxPool(_) => "max pooling of vectors",
        Layer::AvgPool(_) => "average pooling of vectors",
        Layer::GlobalAvgPool => "global average pooling of vectors",
        Layer::Pad(_) => "padding of vectors",
        Layer::Concat => "concatenation of vectors",
        Layer::Sigmoid => "the sigmoid of maps",
        Layer::ScaleChannels => "the scaling of vectors",
        Layer::Dropout(_) => "dropout of vectors",
        Layer::ShakeShake => "Shake-Shake of vectors",
    }
}
