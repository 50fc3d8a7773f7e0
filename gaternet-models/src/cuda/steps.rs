//! What training and inference read in the steps of a network.

use gaternet_kernels::cuda::layout::Rows;

use crate::gate_plan::{ConvSlots, GatePlan};
use crate::network::{Layer, Network};

/// The side of a convolution's weight that lies in rows. A weight has one such side: if channels and filters are
/// gated it is that of the channels, which save work in training too.
pub(super) fn rows_of(slots: ConvSlots) -> Rows {
    if slots.channels.is_some() { Rows::Channels } else { Rows::Filters }
}

/// Whether the open filters of the convolution at step `at` are the channels of the only convolution that reads them.
pub(super) fn wants_open_channels(network: &Network, plan: &GatePlan, at: usize) -> bool {
    network.steps().iter().any(|step| {
        let Layer::Conv(layer) = &step.layer else { return false };
        step.inputs[0].0 == at + 1 && plan.convs()[layer.number].channels.is_some()
    })
}

/// How many steps read each value.
pub(super) fn readers(network: &Network) -> Vec<usize> {
    let mut readers = vec![0; network.steps().len() + 1];
    for value in network.steps().iter().flat_map(|step| step.reads()) {
        readers[value.0] += 1;
    }
    readers
}

/// What a layer does.
pub(super) fn layer_name(layer: &Layer) -> &'static str {
    match layer {
        Layer::Conv(_) => "convolutions",
        Layer::BatchNorm(..) => "batch norm of vectors",
        Layer::Linear(..) => "linear layers of maps",
        Layer::Identity => "sums of vectors",
        Layer::MaxPool(_) => "max pooling",
        Layer::AvgPool(_) => "average pooling of windows",
        Layer::GlobalAvgPool => "global average pooling of vectors",
        Layer::Pad(_) => "padding",
        Layer::Concat => "concatenation",
        Layer::Sigmoid => "the sigmoid",
        Layer::ScaleChannels => "the scaling of channels",
        Layer::Dropout(_) => "dropout",
        Layer::ShakeShake => "Shake-Shake",
    }
}
