//! What is left of a gated network when its gates are settled: a plain network.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Linear, Module, State};
use gaternet_core::{Result, Tensor};

use crate::calibration::Calibration;
use crate::config::Family;
use crate::conv_spec::ConvRole;
use crate::gated_net::GatedNet;
use crate::kept::{Kept, KeptConv};
use crate::network::{ConvLayer, Layer, Network, Step};
use crate::plain_net::PlainNet;

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
    let mut steps: Vec<Step> = Vec::with_capacity(network.steps().len());
    for step in network.steps() {
        let mut channels = step.channels;
        let layer = match &step.layer {
            Layer::Conv(layer) => {
                let layer = cut_conv(layer, kept.unlisted_conv(layer.number))?;
                channels = layer.conv.shape()[0];
                Layer::Conv(layer)
            }
            Layer::BatchNorm(name, bn) => {
                Layer::BatchNorm(name.clone(), copy(bn, channels, |values| values.to_vec())?)
            }
            Layer::Linear(name, linear) => {
                let (weight, bias) = (linear.weight().tensor(), linear.bias().tensor());
                Layer::Linear(name.clone(), Linear::from_tensors(weight, bias)?)
            }
            other => {
                // A dropout may follow a hidden convolution.
                if let (Layer::Dropout(_), Some(before)) = (other, step.inputs[0].0.checked_sub(1))
                {
                    channels = steps[before].channels;
                }
                other.clone()
            }
        };
        steps.push(Step { layer, channels, ..step.clone() });
    }
    Ok(network.with_steps(steps))
}

fn cut_conv(layer: &ConvLayer, kept: KeptConv<'_>) -> Result<ConvLayer> {
    let [filters, channels, kh, kw] = layer.conv.shape();
    let mut weight = kept.weight(layer.conv.weight().tensor().data(), channels, kh * kw);
    let [filters, channels] = kept.sizes([filters, channels]);
    let bn = match &layer.bn {
        None => None,
        Some((name, bn)) => {
            let bn = copy(bn, filters, |values| kept.per_filter(values, 1))?;
            Some((name.clone(), bn))
        }
    };
    let filter_len = channels * kh * kw;
    for filter in kept.zero_filters() {
        weight[filter * filter_len..(filter + 1) * filter_len].fill(0.0);
        if let Some((_, bn)) = &bn {
            bn.weight().update(|weight| weight[filter] = 0.0);
            bn.bias().update(|bias| bias[filter] = 0.0);
        }
    }
    let weight = Tensor::new(weight, [filters, channels, kh, kw])?;
    let conv = Conv2d::from_weight(weight, layer.conv.options())?;
    Ok(ConvLayer { conv, bn, ..layer.clone() })
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
