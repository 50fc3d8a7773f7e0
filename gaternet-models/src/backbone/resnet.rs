//! CIFAR ResNets of basic blocks, and Wide ResNets.

use gaternet_core::Result;
use gaternet_core::nn::scoped;

use crate::config::ResNetConfig;
use crate::conv_spec::ConvRole;
use crate::network::{NetworkBuilder, Value};

/// Images to globally pooled features; names start with `prefix`.
pub(crate) fn features(
    net: &mut NetworkBuilder,
    images: Value,
    prefix: &str,
    config: &ResNetConfig,
) -> Result<Value> {
    let name = |layer: &str| scoped(prefix, layer);
    let pre_activation = config.widen.is_some();
    let stem = net.conv(name("conv"), images, ResNetConfig::CHANNELS[0], 3);
    let stem = if pre_activation { stem } else { stem.batch_norm(name("bn")).relu() };
    let mut x = stem.done()?;
    for (stage, width) in config.widths().into_iter().enumerate() {
        for unit in 0..config.blocks()? {
            let stride = if stage > 0 && unit == 0 { 2 } else { 1 };
            let block = name(&format!("stage{}.block{}", stage + 1, unit + 1));
            let add = if pre_activation { pre_activation_block } else { basic_block };
            x = add(net, x, &block, width, stride)?;
        }
    }
    if pre_activation {
        x = net.batch_norm_relu(name("bn"), x)?;
    }
    Ok(net.global_avg_pool(x))
}

/// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))` (He et al. 2016); the shortcut is a 1x1
/// convolution and batch norm where the shape changes, the identity elsewhere.
fn basic_block(
    net: &mut NetworkBuilder,
    x: Value,
    block: &str,
    width: usize,
    stride: usize,
) -> Result<Value> {
    let name = |layer: &str| scoped(block, layer);
    let hidden = net.conv(name("conv1"), x, width, 3).stride(stride).batch_norm(name("bn1")).relu();
    let hidden = hidden.role(ConvRole::Hidden).done()?;
    let shortcut = if stride == 1 && net.channels(x) == width {
        x
    } else {
        let conv = net.conv(name("shortcut.conv"), x, width, 1).stride(stride);
        conv.batch_norm(name("shortcut.bn")).done()?
    };
    let output = net.conv(name("conv2"), hidden, width, 3).batch_norm(name("bn2"));
    output.residual(shortcut).relu().role(ConvRole::ResidualOutput).done()
}

/// `conv2(relu(bn2(conv1(h)))) + shortcut` with `h = relu(bn1(x))` (He et al. 2016b); the shortcut is a
/// 1x1 convolution of h where the shape changes, x elsewhere.
fn pre_activation_block(
    net: &mut NetworkBuilder,
    x: Value,
    block: &str,
    width: usize,
    stride: usize,
) -> Result<Value> {
    let name = |layer: &str| scoped(block, layer);
    let h = net.batch_norm_relu(name("bn1"), x)?;
    let hidden = net.conv(name("conv1"), h, width, 3).stride(stride).batch_norm(name("bn2")).relu();
    let hidden = hidden.role(ConvRole::Hidden).done()?;
    let shortcut = if stride == 1 && net.channels(x) == width {
        x
    } else {
        net.conv(name("shortcut"), h, width, 1).stride(stride).done()?
    };
    let output = net.conv(name("conv2"), hidden, width, 3).residual(shortcut);
    output.role(ConvRole::ResidualOutput).done()
}
