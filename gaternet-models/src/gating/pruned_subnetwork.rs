//! The pruned subnetwork: what is left of a gated network with constant gates, as a plain network.

use gaternet_core::nn::{BatchNorm2d, Module, State};
use gaternet_core::{Result, Tensor};

use crate::gating::calibration::Calibration;
use crate::gating::gated_net::GatedNet;
use crate::gating::pruning::PruningMap;
use crate::network::{ConvRole, Network, Step};
use crate::networks::config::Family;
use crate::networks::plain_net::PlainNet;

impl GatedNet {
    /// The pruned subnetwork, without gater and gates: filters that more than a `fraction` of the
    /// images of the calibration set open always run, and all others are pruned. With a `fraction`
    /// of 0 every filter that any image opens is left, and if no image disagrees about a gate, the
    /// logits are those of this network.
    ///
    /// An inner filter is taken out of its convolution and of the channels of the next one. The
    /// output of a block holds the shortcut too, so a filter of its last convolution keeps its
    /// place, with zeros for weights and batch norm; of a block whose outputs one gate closes for
    /// good, one inner filter is left, of zeros. Weights are copied. A file of the network lists
    /// the filters of inner convolutions in its metadata (`inner_filters`), and its tensors have
    /// PyTorch's names; of a network that a program has written itself, only that program can build
    /// the architecture again.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Shape`] if the calibration is of another number of gates or of no
    /// image; [`gaternet_core::Error::Config`] if the fraction is not at least 0 and below 1.
    pub fn pruned_subnetwork(&self, calibration: &Calibration, fraction: f64) -> Result<PlainNet> {
        let fates = calibration.majority(self.plan(), fraction)?;
        let kept = PruningMap::new(self.plan(), Some(&fates));
        let network = cut(self.backbone().network(), &kept)?;
        let config = *self.backbone().config();
        if matches!(config.family, Family::Custom) {
            return Ok(PlainNet::custom(network));
        }
        let inner = network.sizeless_convs().into_iter().filter(|c| c.role == ConvRole::Inner);
        let inner_filters = inner.map(|conv| conv.out_channels).collect();
        Ok(PlainNet::from_parts(config, inner_filters, network))
    }
}

/// A copy of the network with what pruning keeps.
fn cut(network: &Network, kept: &PruningMap<'_>) -> Result<Network> {
    // Numbers of channels of each value.
    let mut channels = vec![network.channels()];
    let mut steps: Vec<Step> = Vec::with_capacity(network.steps().len());
    for step in network.steps() {
        let pruning = step.number.map(|number| kept.conv_without_lists(number)).unwrap_or_default();
        let op = step.op.pruned(pruning).map_err(|error| error.at(&step.name))?;
        let width = match step.op.keeps_zeros() {
            true => channels[step.inputs[0]],
            false => pruning.sizes([step.channels, 0])[0],
        };
        let norm = match &step.norm {
            None => None,
            Some((name, norm)) => {
                let norm = copy(norm, width, |values| pruning.per_filter(values, 1))?;
                for filter in pruning.zero_filters() {
                    norm.weight().update(|weight| weight[filter] = 0.0);
                    norm.bias().update(|bias| bias[filter] = 0.0);
                }
                Some((name.clone(), norm))
            }
        };
        channels.push(width);
        let op = op.unwrap_or_else(|| step.op.clone());
        steps.push(Step { op, norm, channels: width, ..step.clone() });
    }
    Ok(network.with_steps(steps))
}

/// A copy of `bn` with `channels` channels, which `pick` takes out of (C) values.
fn copy(
    bn: &BatchNorm2d,
    channels: usize,
    pick: impl Fn(&[f32]) -> Vec<f32>,
) -> Result<BatchNorm2d> {
    let copy = BatchNorm2d::new(channels)?;
    for ((_, from), (_, to)) in bn.state().into_iter().zip(copy.state()) {
        let values = |tensor: Tensor| Tensor::new(pick(tensor.data()), [channels]);
        match (from, to) {
            (State::Parameter(from), State::Parameter(to)) => to.set(&values(from.tensor())?)?,
            (State::Buffer(from), State::Buffer(to)) => to.set(&values(from.tensor())?)?,
            (State::Counter(from), State::Counter(to)) => to.set(from.get()),
            _ => {}
        }
    }
    Ok(copy)
}
