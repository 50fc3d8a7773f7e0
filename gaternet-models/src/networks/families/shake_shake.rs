//! Shake-Shake networks (Gastaldi 2017).

use gaternet_core::Result;
use gaternet_core::nn::scoped;
use gaternet_core::ops::Pool2dOptions;

use super::squeeze_excitation;
use crate::network::{ConvRole, NetworkBuilder, Value};
use crate::networks::config::BackboneConfig;

pub(super) fn features(
    net: &mut NetworkBuilder,
    images: Value,
    prefix: &str,
    config: &BackboneConfig,
    base: usize,
) -> Result<Value> {
    let name = |layer: &str| scoped(prefix, layer);
    let stem = net.conv(name("conv"), images, config.scaled(16), 3).batch_norm(name("bn"));
    let mut x = stem.done()?;
    for stage in 0..3 {
        let width = config.scaled(base << stage);
        for number in 0..config.family.blocks()? {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let block = name(&format!("stage{}.block{}", stage + 1, number + 1));
            x = add_block(net, x, &block, width, stride, config.squeeze_excitation)?;
        }
    }
    let x = net.relu(x);
    Ok(net.global_avg_pool(x))
}

/// Adds a block `shake_shake(path1(x), path2(x)) + shortcut(x)`, with each path
/// `bn2(conv2(relu(bn1(conv1(relu(x))))))`.
fn add_block(
    net: &mut NetworkBuilder,
    x: Value,
    block: &str,
    width: usize,
    stride: usize,
    reduction: Option<usize>,
) -> Result<Value> {
    let h = net.relu(x);
    let mut path = |number: usize| {
        let name = |layer: &str| scoped(block, &format!("residual_path{number}.{layer}"));
        let inner = net.conv(name("conv1"), h, width, 3).stride(stride).batch_norm(name("bn1"));
        let inner = inner.relu().role(ConvRole::Inner).done()?;
        let output = net.conv(name("conv2"), inner, width, 3).batch_norm(name("bn2"));
        output.role(ConvRole::BlockOutput).done()
    };
    let (one, other) = (path(1)?, path(2)?);
    let mut mixed = net.shake_shake(one, other);
    if let Some(reduction) = reduction {
        mixed = squeeze_excitation::add(net, mixed, &scoped(block, "se"), reduction)?;
    }
    let shortcut = if stride == 1 && net.channels(x) == width {
        x
    } else {
        shortcut(net, h, &scoped(block, "shortcut"), width, stride)?
    };
    Ok(net.add(mixed, shortcut))
}

/// Adds the shortcut `bn(concat(conv1(every other pixel), conv2(the pixels one further down and
/// right)))`, each with half the channels.
fn shortcut(
    net: &mut NetworkBuilder,
    h: Value,
    name: &str,
    width: usize,
    stride: usize,
) -> Result<Value> {
    let every = Pool2dOptions::square(1, stride, 0);
    let near = net.avg_pool(h, every);
    let near = net.conv(scoped(name, "conv1"), near, width / 2, 1).done()?;
    let shifted = net.pad(h, [-1, 1, -1, 1]);
    let far = net.avg_pool(shifted, every);
    let far = net.conv(scoped(name, "conv2"), far, width - width / 2, 1).done()?;
    let both = net.concat(&[near, far])?;
    net.batch_norm(scoped(name, "bn"), both)
}
