//! What a model is made of. Stored with every checkpoint.

use gaternet_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::gate_plan::GatePlacement;

/// A ResNet of basic blocks for small images: three stages of n blocks with 16, 32 and 64 channels on maps
/// of 32x32, 16x16 and 8x8 (He et al. 2016), or a Wide ResNet (Zagoruyko and Komodakis 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
    /// Depth 6n + 2: 20, 32, 44, 56, 110, ...; of a Wide ResNet 6n + 4: 16, 22, 28, 40, ...
    pub depth: usize,
    /// Width of the output layer.
    pub classes: usize,
    /// k of a Wide ResNet, whose units have k times the channels, and batch norm and ReLU before
    /// their convolutions (without dropout). `None` for a ResNet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widen: Option<usize>,
}

impl ResNetConfig {
    /// Channels of the three stages.
    pub const CHANNELS: [usize; 3] = [16, 32, 64];

    /// ResNet-`depth`.
    #[must_use]
    pub fn cifar(depth: usize, classes: usize) -> ResNetConfig {
        ResNetConfig { depth, classes, widen: None }
    }

    /// WRN-`depth`-`k`.
    #[must_use]
    pub fn wide(depth: usize, k: usize, classes: usize) -> ResNetConfig {
        ResNetConfig { depth, classes, widen: Some(k) }
    }

    /// Blocks of each stage, n.
    ///
    /// # Errors
    /// [`Error::Config`] if the depth is not 6n + 2, or of a Wide ResNet 6n + 4, with n > 0.
    pub fn blocks(&self) -> Result<usize> {
        match self.widen {
            None => blocks("depth", self.depth),
            Some(_) if (10..=64).contains(&self.depth) && self.depth % 6 == 4 => {
                Ok((self.depth - 4) / 6)
            }
            Some(_) => {
                let rule = "a Wide ResNet has depth 6n + 4: 10, 16, 22, 28, 34, 40, ..., 64";
                Err(Error::Config { field: "depth", value: self.depth.to_string(), rule })
            }
        }
    }

    /// Channels of each stage.
    pub(crate) fn widths(&self) -> [usize; 3] {
        ResNetConfig::CHANNELS.map(|channels| channels * self.widen.unwrap_or(1))
    }

    /// # Errors
    /// [`Error::Config`] that names the field and its rule.
    pub fn validate(&self) -> Result<()> {
        self.blocks()?;
        // A bound also limits what a file can make us allocate.
        if let Some(k) = self.widen.filter(|k| !(1..=20).contains(k)) {
            let rule = "must be between 1 and 20";
            return Err(Error::Config { field: "widen", value: k.to_string(), rule });
        }
        width("classes", self.classes)
    }
}

/// A [`ResNetConfig`] backbone whose residual units are gated by a ResNet gater.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedResNetConfig {
    /// The network that is gated.
    pub backbone: ResNetConfig,
    /// Which filters have gates; the paper's where a file does not say.
    #[serde(default)]
    pub placement: GatePlacement,
    /// Depth of the gater's feature extractor E, 6n + 2.
    pub gater_depth: usize,
    /// Units b between the gater's features and its gates.
    pub bottleneck: usize,
    /// Where the bias of every gate starts. At 0, as in the paper, half of the gates are open at first;
    /// at 2, about 98 % are, and a short training loses less to the noise of gates that have not
    /// learned anything yet.
    #[serde(default)]
    pub gate_bias: f32,
}

impl GatedResNetConfig {
    /// The paper's model on a ResNet-`depth`.
    #[must_use]
    pub fn cifar(depth: usize, classes: usize) -> GatedResNetConfig {
        GatedResNetConfig::new(ResNetConfig::cifar(depth, classes))
    }

    /// The paper's model for 32x32 images: gates on the residual outputs, a ResNet-20 as the gater, a
    /// bottleneck of 8.
    #[must_use]
    pub fn new(backbone: ResNetConfig) -> GatedResNetConfig {
        let placement = GatePlacement::ResidualOutput;
        GatedResNetConfig { backbone, placement, gater_depth: 20, bottleneck: 8, gate_bias: 0.0 }
    }

    /// The gater's feature extractor E.
    pub(crate) fn extractor(&self) -> ResNetConfig {
        // Without its output layer, so any number of classes.
        ResNetConfig::cifar(self.gater_depth, 1)
    }

    /// # Errors
    /// [`Error::Config`] that names the field and its rule.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate()?;
        blocks("gater_depth", self.gater_depth)?;
        width("bottleneck", self.bottleneck)?;
        if !self.gate_bias.is_finite() {
            let value = self.gate_bias.to_string();
            return Err(Error::Config { field: "gate_bias", value, rule: "must be finite" });
        }
        Ok(())
    }
}

fn blocks(field: &'static str, depth: usize) -> Result<usize> {
    // 1202 is the deepest of He et al.; a bound also limits what a file can make us allocate.
    if !(8..=1202).contains(&depth) || depth % 6 != 2 {
        let rule =
            "a ResNet of basic blocks has depth 6n + 2: 8, 14, 20, 32, 44, 56, 110, ..., 1202";
        return Err(Error::Config { field, value: depth.to_string(), rule });
    }
    Ok((depth - 2) / 6)
}

/// Layers of a size that fits in memory whatever a file says.
fn width(field: &'static str, value: usize) -> Result<()> {
    if !(1..=1 << 16).contains(&value) {
        let rule = "must be between 1 and 65536";
        return Err(Error::Config { field, value: value.to_string(), rule });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_6n_plus_2() {
        let blocks = |depth| ResNetConfig::cifar(depth, 10).blocks().ok();
        assert_eq!([20, 56, 110].map(blocks), [Some(3), Some(9), Some(18)]);
        assert_eq!([0, 2, 18, 21, 164].map(blocks), [None, None, None, None, Some(27)]);
    }

    #[test]
    fn wide_depths_are_6n_plus_4() {
        let blocks = |depth| ResNetConfig::wide(depth, 10, 10).blocks().ok();
        assert_eq!([16, 28, 40].map(blocks), [Some(2), Some(4), Some(6)]);
        assert_eq!([4, 20, 29, 70].map(blocks), [None; 4]);
        let error = ResNetConfig::wide(28, 21, 10).validate().expect_err("too wide").to_string();
        assert!(error.contains("widen = 21"), "{error}");
    }

    #[test]
    fn a_bad_field_is_named() {
        let mut config = GatedResNetConfig::cifar(20, 10);
        config.bottleneck = 1 << 40;
        let error = config.validate().expect_err("too many units").to_string();
        assert!(error.contains("bottleneck = 1099511627776"), "{error}");
        config.bottleneck = 0;
        let error = config.validate().expect_err("no units").to_string();
        assert!(error.contains("bottleneck = 0"), "{error}");
        config.gater_depth = 19;
        let error = config.validate().expect_err("no such depth").to_string();
        assert!(error.contains("gater_depth = 19"), "{error}");
    }
}
