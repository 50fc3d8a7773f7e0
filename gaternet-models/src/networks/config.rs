//! The configuration of a plain network, which every checkpoint stores.

use std::fmt;

use gaternet_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The configuration of a backbone with its output layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// The architecture.
    pub family: Family,
    /// Number of classes, the width of the output layer.
    pub classes: usize,
    /// Factor of every number of channels, which are rounded; 1 by default.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub width: f64,
    /// Squeeze-and-excitation (Hu et al. 2018) at the end of every block, before the shortcut is
    /// added, with this reduction; 16 in the paper. `None`, the default, has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squeeze_excitation: Option<usize>,
    /// Channels C of the images (N, C, H, W): 3 by default, 1 for grey ones.
    #[serde(default = "rgb", skip_serializing_if = "is_rgb")]
    pub in_channels: usize,
}

/// An architecture. Families for small images (32x32) have three stages on feature maps of 32x32,
/// 16x16 and 8x8.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Family {
    /// ResNet for small images: blocks of two 3x3 convolutions, stages of 16, 32 and 64 channels
    /// (He et al. 2016).
    Resnet {
        /// Number of layers, 6n + 2 for stages of n blocks.
        depth: usize,
        /// Whether batch norm and ReLU come before the convolutions instead of after (He et al.
        /// 2016b).
        #[serde(default)]
        pre_activation: bool,
    },
    /// ResNet of bottleneck blocks for small images: a 1x1, a 3x3 and a 1x1 convolution (He et al.
    /// 2016).
    Bottleneck {
        /// Number of layers, 9n + 2 for stages of n blocks.
        depth: usize,
        /// Whether batch norm and ReLU come before the convolutions instead of after (He et al.
        /// 2016b).
        #[serde(default)]
        pre_activation: bool,
        /// Output channels of the blocks.
        #[serde(default)]
        channels: BottleneckChannels,
    },
    /// Wide ResNet-depth-k for small images (Zagoruyko and Komodakis 2016): pre-activation blocks
    /// of two 3x3 convolutions, stages of 16k, 32k and 64k channels.
    WideResnet {
        /// Number of layers, 6n + 4 for stages of n blocks.
        depth: usize,
        /// Widening factor: channels relative to a ResNet.
        k: usize,
        /// Probability of dropout between the two convolutions of a block.
        #[serde(default)]
        dropout: f32,
    },
    /// Shake-Shake-depth 2 x `base`d for small images (Gastaldi 2017): blocks of two branches,
    /// mixed at random; stages of base, 2·base and 4·base channels.
    ShakeShake {
        /// Number of layers, 6n + 2 for stages of n blocks; 26 in the paper.
        depth: usize,
        /// Channels of the first stage.
        base: usize,
    },
    /// DenseNet-BC-depth-growth for small images (Huang et al. 2017): every convolution reads all
    /// feature maps before it in its dense block, compressed to half between dense blocks.
    Densenet {
        /// Number of layers, 6n + 4 for dense blocks of n layers.
        depth: usize,
        /// Growth rate: channels that a layer adds.
        growth: usize,
    },
    /// A [`Network`](crate::Network) that a program has written itself. No configuration can build
    /// it.
    Custom,
    /// ResNet for large images: a 7x7 convolution and a max pool with stride 2 each, then four
    /// stages (He et al. 2016, with the stride of a bottleneck block in its 3x3 convolution, as in
    /// torchvision, whose names the weights have).
    ImagenetResnet {
        /// Number of layers: 18, 34, 50, 101 or 152.
        depth: usize,
    },
}

/// Output channels of bottleneck blocks, stage by stage; inner convolutions have a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BottleneckChannels {
    /// The GaterNet paper's 16, 128 and 256, with 7200 gates at depth 164.
    #[default]
    Paper,
    /// The 64, 128 and 256 of the pre-activation ResNets.
    #[serde(alias = "textbook")]
    Standard,
}

impl Family {
    /// Blocks of each stage (layers of each dense block).
    ///
    /// # Errors
    /// [`Error::Config`] if there is no network of this depth; it names the nearest depths.
    pub(crate) fn blocks(&self) -> Result<usize> {
        match *self {
            Family::Resnet { depth, .. } => blocks_of(depth, 6, 2, "a ResNet has depth 6n + 2"),
            Family::Bottleneck { depth, .. } => {
                blocks_of(depth, 9, 2, "a bottleneck ResNet has depth 9n + 2")
            }
            Family::WideResnet { depth, .. } => {
                blocks_of(depth, 6, 4, "a Wide ResNet has depth 6n + 4")
            }
            Family::ShakeShake { depth, .. } => {
                blocks_of(depth, 6, 2, "a Shake-Shake network has depth 6n + 2")
            }
            Family::Densenet { depth, .. } => {
                blocks_of(depth, 6, 4, "a DenseNet-BC has depth 6n + 4")
            }
            Family::Custom => {
                let rule = "a network of a program's own is built by that program: build it \
                            there, then load_weights";
                Err(Error::Config { field: "family", value: "custom".to_owned(), rule })
            }
            Family::ImagenetResnet { depth } if [18, 34, 50, 101, 152].contains(&depth) => Ok(0),
            Family::ImagenetResnet { depth } => {
                let rule = "a ResNet for large images has depth 18, 34, 50, 101 or 152";
                Err(Error::Config { field: "depth", value: depth.to_string(), rule })
            }
        }
    }
}

/// Writes the usual name: `ResNet-20`, `WRN-28-10`, `SE-ResNet-50`, `ResNet-20 (1.42x wide)`.
impl fmt::Display for BackboneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.squeeze_excitation.is_some() {
            f.write_str("SE-")?;
        }
        match self.family {
            Family::Resnet { depth, pre_activation: false }
            | Family::Bottleneck { depth, pre_activation: false, .. }
            | Family::ImagenetResnet { depth } => write!(f, "ResNet-{depth}"),
            Family::Resnet { depth, .. } | Family::Bottleneck { depth, .. } => {
                write!(f, "PreActResNet-{depth}")
            }
            Family::WideResnet { depth, k, .. } => write!(f, "WRN-{depth}-{k}"),
            Family::ShakeShake { depth, base } => write!(f, "Shake-Shake-{depth} 2x{base}d"),
            Family::Densenet { depth, growth } => write!(f, "DenseNet-BC-{depth}-{growth}"),
            Family::Custom => f.write_str("custom network"),
        }?;
        if is_one(&self.width) { Ok(()) } else { write!(f, " ({:.2}x wide)", self.width) }
    }
}

impl BackboneConfig {
    /// A network of this family with the default settings.
    #[must_use]
    pub fn new(family: Family, classes: usize) -> BackboneConfig {
        BackboneConfig { family, classes, width: 1.0, squeeze_excitation: None, in_channels: rgb() }
    }

    /// The CIFAR ResNet-`depth` of basic blocks: depth 20, 32, 44, 56, 110, ...
    #[must_use]
    pub fn resnet(depth: usize, classes: usize) -> BackboneConfig {
        BackboneConfig::new(Family::Resnet { depth, pre_activation: false }, classes)
    }

    /// The CIFAR ResNet-`depth` of bottleneck blocks with the GaterNet paper's channels: depth 164,
    /// ...
    #[must_use]
    pub fn bottleneck(depth: usize, classes: usize) -> BackboneConfig {
        let channels = BottleneckChannels::Paper;
        BackboneConfig::new(Family::Bottleneck { depth, pre_activation: false, channels }, classes)
    }

    /// The Wide ResNet WRN-`depth`-`k` without dropout.
    #[must_use]
    pub fn wide_resnet(depth: usize, k: usize, classes: usize) -> BackboneConfig {
        BackboneConfig::new(Family::WideResnet { depth, k, dropout: 0.0 }, classes)
    }

    /// Size (H, W) of the images that networks of this family are made for; others fit too.
    #[must_use]
    pub fn image_size(&self) -> [usize; 2] {
        match self.family {
            Family::ImagenetResnet { .. } => [224, 224],
            _ => [32, 32],
        }
    }

    /// `channels` times the width, rounded.
    pub(crate) fn scaled(&self, channels: usize) -> usize {
        ((channels as f64 * self.width).round() as usize).max(1)
    }

    /// # Errors
    /// [`Error::Config`] that names the first field out of range and its rule.
    pub fn validate(&self) -> Result<()> {
        self.family.blocks()?;
        let fail = |field, value: String, rule| Err(Error::Config { field, value, rule });
        match self.family {
            // Bounds also limit what a file can make us allocate.
            Family::WideResnet { k, .. } if !(1..=20).contains(&k) => {
                return fail("k", k.to_string(), "must be between 1 and 20");
            }
            Family::WideResnet { dropout, .. } if !(0.0..1.0).contains(&dropout) => {
                return fail("dropout", dropout.to_string(), "must be at least 0 and below 1");
            }
            Family::ShakeShake { base, .. } if !(1..=256).contains(&base) => {
                return fail("base", base.to_string(), "must be between 1 and 256");
            }
            Family::Densenet { growth, .. } if !(1..=64).contains(&growth) => {
                return fail("growth", growth.to_string(), "must be between 1 and 64");
            }
            _ => {}
        }
        if !(0.01..=16.0).contains(&self.width) {
            return fail("width", self.width.to_string(), "must be between 0.01 and 16");
        }
        if self.squeeze_excitation == Some(0) {
            return fail("squeeze_excitation", "0".to_owned(), "must be at least 1");
        }
        if self.squeeze_excitation.is_some() && matches!(self.family, Family::Densenet { .. }) {
            let rule = "a DenseNet has no blocks to put it into";
            return fail("squeeze_excitation", format!("{:?}", self.squeeze_excitation), rule);
        }
        bounded("in_channels", self.in_channels)?;
        bounded("classes", self.classes)
    }
}

/// The n of a depth of `step · n + first`.
fn blocks_of(depth: usize, step: usize, first: usize, rule: &'static str) -> Result<usize> {
    // 1202 is the deepest of He et al.; a bound also limits what a file can make us allocate.
    let most = (1202 - first) / step;
    let n = depth.saturating_sub(first) / step;
    if (1..=most).contains(&n) && n * step + first == depth {
        return Ok(n);
    }
    let below = n.clamp(1, most);
    let near = [below, (below + 1).min(most)].map(|n| n * step + first);
    let value = match near {
        _ if depth < near[0] => format!("{depth} (the nearest is {})", near[0]),
        [one, other] if one == other => format!("{depth} (the nearest is {one})"),
        [one, other] => format!("{depth} (the nearest are {one} and {other})"),
    };
    Err(Error::Config { field: "depth", value, rule })
}

/// Checks that layers of a size fit in memory, whatever a file says.
pub(crate) fn bounded(field: &'static str, value: usize) -> Result<()> {
    if !(1..=1 << 16).contains(&value) {
        let rule = "must be between 1 and 65536";
        return Err(Error::Config { field, value: value.to_string(), rule });
    }
    Ok(())
}

fn rgb() -> usize {
    3
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_rgb(channels: &usize) -> bool {
    *channels == rgb()
}

pub(crate) fn one() -> f64 {
    1.0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
pub(crate) fn is_one(width: &f64) -> bool {
    *width == 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(backbone: BackboneConfig) -> String {
        backbone.validate().expect_err("out of range").to_string()
    }

    #[test]
    fn each_family_has_its_depths_and_names_the_nearest() {
        let blocks = |config: BackboneConfig| config.family.blocks().ok();
        assert_eq!(
            [20, 56, 110].map(|d| blocks(BackboneConfig::resnet(d, 10))),
            [3, 9, 18].map(Some)
        );
        assert_eq!([164, 20].map(|d| blocks(BackboneConfig::bottleneck(d, 10))), [18, 2].map(Some));
        let wide = |depth| blocks(BackboneConfig::wide_resnet(depth, 10, 10));
        assert_eq!([16, 28, 40].map(wide), [2, 4, 6].map(Some));
        let text = error(BackboneConfig::resnet(21, 10));
        assert!(text.contains("depth = 21 (the nearest are 20 and 26)"), "{text}");
        let text = error(BackboneConfig::resnet(0, 10));
        assert!(text.contains("depth = 0 (the nearest is 8)"), "{text}");
        let text = error(BackboneConfig::bottleneck(165, 10));
        assert!(text.contains("(the nearest are 164 and 173)"), "{text}");
        let text = error(BackboneConfig::wide_resnet(1 << 60, 10, 10));
        assert!(text.contains("(the nearest is 1198)"), "{text}");
        let text = error(BackboneConfig::new(Family::ImagenetResnet { depth: 20 }, 10));
        assert!(text.contains("18, 34, 50, 101 or 152"), "{text}");
    }

    #[test]
    fn a_bad_field_is_named() {
        assert!(error(BackboneConfig::wide_resnet(28, 21, 10)).contains("k = 21"));
        let family = Family::WideResnet { depth: 28, k: 10, dropout: 1.0 };
        assert!(error(BackboneConfig::new(family, 10)).contains("dropout = 1"));
        let wide = BackboneConfig { width: f64::NAN, ..BackboneConfig::resnet(20, 10) };
        assert!(error(wide).contains("width = NaN"));
    }
}
