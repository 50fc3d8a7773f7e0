//! Networks that can be gated, each written with a [`NetworkBuilder`].

mod densenet;
mod imagenet_resnet;
mod resnet;
mod shake_shake;
mod squeeze_excitation;

use gaternet_core::Result;

use crate::network::{NetworkBuilder, Value};
use crate::networks::config::{BackboneConfig, Family};

/// Adds the layers from images to globally pooled features; names start with `prefix`.
pub(crate) fn features(
    net: &mut NetworkBuilder,
    images: Value,
    prefix: &str,
    config: &BackboneConfig,
) -> Result<Value> {
    match config.family {
        // `Custom` has no depth, which is what the error says.
        Family::Resnet { .. }
        | Family::Bottleneck { .. }
        | Family::WideResnet { .. }
        | Family::Custom => resnet::features(net, images, prefix, config),
        Family::ShakeShake { base, .. } => shake_shake::features(net, images, prefix, config, base),
        Family::Densenet { growth, .. } => densenet::features(net, images, prefix, config, growth),
        Family::ImagenetResnet { depth } => {
            imagenet_resnet::features(net, images, prefix, config, depth)
        }
    }
}

/// State-dict name of the output layer.
pub(crate) fn output_name(family: &Family) -> &'static str {
    match family {
        Family::Densenet { .. } => "classifier",
        _ => "fc",
    }
}
