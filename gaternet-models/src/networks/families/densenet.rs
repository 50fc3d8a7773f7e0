//! DenseNet-BC for small images (Huang et al. 2017), with torchvision's names.

use gaternet_core::Result;
use gaternet_core::nn::scoped;
use gaternet_core::ops::Pool2dOptions;

use crate::network::{ConvRole, NetworkBuilder, Value};
use crate::networks::config::BackboneConfig;

/// Channels of a layer's 1x1 convolution, relative to those that the layer adds.
const BOTTLENECK: usize = 4;

pub(super) fn features(
    net: &mut NetworkBuilder,
    images: Value,
    prefix: &str,
    config: &BackboneConfig,
    growth: usize,
) -> Result<Value> {
    let name = |layer: &str| scoped(prefix, &format!("features.{layer}"));
    let growth = config.scaled(growth);
    let mut x = net.conv(name("conv0"), images, 2 * growth, 3).done()?;
    for block in 1..=3 {
        for layer in 1..=config.family.blocks()? {
            let name = |part: &str| name(&format!("denseblock{block}.denselayer{layer}.{part}"));
            let h = net.batch_norm_relu(name("norm1"), x)?;
            let inner = net.conv(name("conv1"), h, BOTTLENECK * growth, 1);
            let inner = inner.batch_norm(name("norm2")).relu().role(ConvRole::Inner).done()?;
            let output = net.conv(name("conv2"), inner, growth, 3);
            let output = output.role(ConvRole::BlockOutput).done()?;
            x = net.concat(&[x, output])?;
        }
        if block < 3 {
            let name = |part: &str| name(&format!("transition{block}.{part}"));
            let h = net.batch_norm_relu(name("norm"), x)?;
            let half = net.conv(name("conv"), h, net.channels(h) / 2, 1).done()?;
            x = net.avg_pool(half, Pool2dOptions::square(2, 2, 0));
        }
    }
    let x = net.batch_norm_relu(name("norm5"), x)?;
    Ok(net.global_avg_pool(x))
}
