//! ResNets for small images: basic and bottleneck blocks, with batch norm and ReLU after or before
//! the convolutions, and Wide ResNets.

use gaternet_core::Result;
use gaternet_core::nn::scoped;

use super::squeeze_excitation;
use crate::network::{ConvRole, NetworkBuilder, Value};
use crate::networks::config::{BackboneConfig, BottleneckChannels, Family};

/// Settings that the blocks of a network have in common.
struct Blocks {
    /// Kernel sizes of a block's convolutions.
    kernels: &'static [usize],
    /// Index of the convolution that has the block's stride.
    strided: usize,
    pre_activation: bool,
    dropout: f32,
    squeeze_excitation: Option<usize>,
}

/// Channels of a block: of its inner convolutions and of its output.
#[derive(Clone, Copy)]
struct Width {
    inner: usize,
    outer: usize,
}

pub(super) fn features(
    net: &mut NetworkBuilder,
    images: Value,
    prefix: &str,
    config: &BackboneConfig,
) -> Result<Value> {
    let name = |layer: &str| scoped(prefix, layer);
    let (channels, bottleneck, pre_activation, dropout) = match config.family {
        Family::Bottleneck { pre_activation, channels, .. } => {
            let first = if channels == BottleneckChannels::Paper { 16 } else { 64 };
            ([first, 128, 256], true, pre_activation, 0.0)
        }
        Family::WideResnet { k, dropout, .. } => ([16 * k, 32 * k, 64 * k], false, true, dropout),
        Family::Resnet { pre_activation, .. } => ([16, 32, 64], false, pre_activation, 0.0),
        _ => ([16, 32, 64], false, false, 0.0),
    };
    let blocks = Blocks {
        kernels: if bottleneck { &[1, 3, 1] } else { &[3, 3] },
        strided: usize::from(bottleneck),
        pre_activation,
        dropout,
        squeeze_excitation: config.squeeze_excitation,
    };
    let stem = net.conv(name("conv"), images, config.scaled(16), 3);
    let stem = if pre_activation { stem } else { stem.batch_norm(name("bn")).relu() };
    let mut x = stem.done()?;
    for (stage, channels) in channels.into_iter().enumerate() {
        let outer = config.scaled(channels);
        let inner = if bottleneck { config.scaled(channels / 4) } else { outer };
        for number in 0..config.family.blocks()? {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let block = name(&format!("stage{}.block{}", stage + 1, number + 1));
            x = blocks.add(net, x, &block, Width { inner, outer }, stride)?;
        }
    }
    if pre_activation {
        x = net.batch_norm_relu(name("bn"), x)?;
    }
    Ok(net.global_avg_pool(x))
}

impl Blocks {
    /// Adds a block. Batch norm after (He et al. 2016): `relu(bn(conv(relu(bn(conv(x))))) +
    /// shortcut(x))`; before (He et al. 2016b): `conv(relu(bn(conv(h)))) + shortcut` with `h =
    /// relu(bn1(x))`. Where the shape changes the shortcut is a 1x1 convolution, of x with batch
    /// norm, or of h; elsewhere x.
    fn add(
        &self,
        net: &mut NetworkBuilder,
        x: Value,
        block: &str,
        width: Width,
        stride: usize,
    ) -> Result<Value> {
        let name = |layer: &str| scoped(block, layer);
        let numbered = |layer: &str, number: usize| scoped(block, &format!("{layer}{number}"));
        let h = if self.pre_activation { net.batch_norm_relu(name("bn1"), x)? } else { x };
        let stride_of = |conv: usize| if conv == self.strided { stride } else { 1 };
        let last = self.kernels.len() - 1;
        let mut maps = h;
        for (conv, kernel) in self.kernels[..last].iter().enumerate() {
            let bn = numbered("bn", conv + 1 + usize::from(self.pre_activation));
            maps = net
                .conv(numbered("conv", conv + 1), maps, width.inner, *kernel)
                .stride(stride_of(conv))
                .batch_norm(bn)
                .relu()
                .role(ConvRole::Inner)
                .done()?;
        }
        if self.dropout > 0.0 {
            maps = net.dropout(maps, self.dropout);
        }
        let shortcut = if stride == 1 && net.channels(x) == width.outer {
            x
        } else if self.pre_activation {
            net.conv(name("shortcut"), h, width.outer, 1).stride(stride).done()?
        } else {
            let conv = net.conv(name("shortcut.conv"), x, width.outer, 1).stride(stride);
            conv.batch_norm(name("shortcut.bn")).done()?
        };
        let output = net
            .conv(numbered("conv", last + 1), maps, width.outer, self.kernels[last])
            .role(ConvRole::BlockOutput);
        let output = match self.pre_activation {
            true => output,
            false => output.batch_norm(numbered("bn", last + 1)),
        };
        match self.squeeze_excitation {
            None if self.pre_activation => output.residual(shortcut).done(),
            None => output.residual(shortcut).relu().done(),
            Some(reduction) => {
                let output = output.done()?;
                let scaled = squeeze_excitation::add(net, output, &name("se"), reduction)?;
                Ok(match self.pre_activation {
                    true => net.add(scaled, shortcut),
                    false => net.add_relu(scaled, shortcut),
                })
            }
        }
    }
}
