//! What is left of a gated network when its gates are settled: a plain network.

use gaternet_core::nn::{BatchNorm2d, Module, State};
use gaternet_core::{Result, Tensor};

use crate::gating::calibration::Calibration;
use crate::gating::gated_net::GatedNet;
use crate::gating::pruning::Kept;
use crate::network::{ConvRole, Network, Step};
use crate::networks::config::Family;
use crate::networks::plain_net::PlainNet;

impl GatedNet {
    /// The network without gater and gates, in which the filters that more than `share` of the images of the
    /// calibration set open always run and all others are gone. With a `share` of 0 every filter that any
    /// image opens is left, and with gates that no image disagrees about, the logits are those of this
    /// network.
    ///
    /// A hidden filter is gone from its convolution and from the channels of the next one. The planes of a
    /// residual output hold the shortcut too, so a filter there keeps its place, with zeros for weights and batch
    /// norm; of a unit whose outputs one gate closed for good, one hidden filter is left, of zeros. Weights are
    /// copied. A file of the network lists the filters of hidden convolutions in its metadata (`hidden_filters`),
    /// and its tensors have PyTorch's names; of a network that a program has written itself, only that program
    /// can build the architecture again.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Shape`] if the calibration is of another number of gates.
    pub fn static_part(&self, calibration: &Calibration, share: f64) -> Result<PlainNet> {
        let fates = calibration.majority(self.plan(), share)?;
        let kept = Kept::new(self.plan(), Some(&fates));
        let network = cut(self.backbone().network(), &kept)?;
        let config = *self.backbone().config();
        if matches!(config.family, Family::Custom) {
            return Ok(PlainNet::custom(network));
        }
        let hidden = network.sizeless_convs().into_iter().filter(|c| c.role == ConvRole::Hidden);
        let hidden_filters = hidden.map(|conv| conv.out_channels).collect();
        Ok(PlainNet::from_parts(config, hidden_filters, network))
    }
}

/// A copy with what is kept.
fn cut(network: &Network, kept: &Kept<'_>) -> Result<Network> {
    // Of the channels of each value.
    let mut channels = vec![network.channels()];
    let mut steps: Vec<Step> = Vec::with_capacity(network.steps().len());
    for step in network.steps() {
        let pruning = step.number.map(|number| kept.unlisted_conv(number)).unwrap_or_default();
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

/// Of `channels` channels, which `pick` takes out of (C) values.
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
