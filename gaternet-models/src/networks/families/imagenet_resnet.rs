//! ResNets for large images (He et al. 2016), with torchvision's names and strides.

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
    depth: usize,
) -> Result<Value> {
    let name = |layer: &str| scoped(prefix, layer);
    let (blocks, kernels): ([usize; 4], &[usize]) = match depth {
        18 => ([2, 2, 2, 2], &[3, 3]),
        34 => ([3, 4, 6, 3], &[3, 3]),
        50 => ([3, 4, 6, 3], &[1, 3, 1]),
        101 => ([3, 4, 23, 3], &[1, 3, 1]),
        _ => ([3, 8, 36, 3], &[1, 3, 1]),
    };
    let stem = net.conv(name("conv1"), images, config.scaled(64), 7).stride(2);
    let stem = stem.batch_norm(name("bn1")).relu().done()?;
    let mut x = net.max_pool(stem, Pool2dOptions::square(3, 2, 1));
    for (stage, blocks) in blocks.into_iter().enumerate() {
        let inner = config.scaled(64 << stage);
        let outer = if kernels.len() == 3 { 4 * inner } else { inner };
        for number in 0..blocks {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let block = name(&format!("layer{}.{number}", stage + 1));
            x = add_block(net, x, &block, (kernels, inner, outer), stride, config)?;
        }
    }
    Ok(net.global_avg_pool(x))
}

/// Adds a block `relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))` with two or three convolutions;
/// the first 3x3 has the stride.
fn add_block(
    net: &mut NetworkBuilder,
    x: Value,
    block: &str,
    (kernels, inner, outer): (&[usize], usize, usize),
    stride: usize,
    config: &BackboneConfig,
) -> Result<Value> {
    let name = |layer: &str| scoped(block, layer);
    let numbered = |layer: &str, number: usize| scoped(block, &format!("{layer}{number}"));
    let strided = kernels.len() - 2;
    let mut maps = x;
    for (conv, kernel) in kernels[..kernels.len() - 1].iter().enumerate() {
        let builder = net.conv(numbered("conv", conv + 1), maps, inner, *kernel);
        let builder = builder.stride(if conv == strided { stride } else { 1 });
        let builder = builder.batch_norm(numbered("bn", conv + 1)).relu();
        maps = builder.role(ConvRole::Inner).done()?;
    }
    let shortcut = if stride == 1 && net.channels(x) == outer {
        x
    } else {
        let conv = net.conv(name("downsample.0"), x, outer, 1).stride(stride);
        conv.batch_norm(name("downsample.1")).done()?
    };
    let last = kernels.len();
    let output = net.conv(numbered("conv", last), maps, outer, kernels[last - 1]);
    let output = output.batch_norm(numbered("bn", last)).role(ConvRole::BlockOutput);
    match config.squeeze_excitation {
        None => output.residual(shortcut).relu().done(),
        Some(reduction) => {
            let output = output.done()?;
            let scaled = squeeze_excitation::add(net, output, &name("se"), reduction)?;
            Ok(net.add_relu(scaled, shortcut))
        }
    }
}
