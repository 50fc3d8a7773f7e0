//! Networks as the command line names them.

use std::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use gaternet::models::{BackboneConfig, BottleneckChannels, Family, GatePlacement};

/// A backbone; `imagenet-*` are for images of 224x224, the others for 32x32.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ModelName {
    Resnet20,
    Resnet32,
    Resnet44,
    Resnet56,
    Resnet110,
    /// Bottleneck units with the GaterNet paper's channels
    Resnet164,
    #[value(name = "preact-resnet110")]
    PreactResnet110,
    #[value(name = "preact-resnet164")]
    PreactResnet164,
    #[value(name = "wrn16-4")]
    Wrn16_4,
    #[value(name = "wrn28-10")]
    Wrn28_10,
    #[value(name = "wrn40-4")]
    Wrn40_4,
    /// Shake-Shake-26 2x32d
    #[value(name = "shake-shake26-32")]
    ShakeShake26_32,
    /// Shake-Shake-26 2x96d
    #[value(name = "shake-shake26-96")]
    ShakeShake26_96,
    /// DenseNet-BC-100-12
    #[value(name = "densenet100-12")]
    Densenet100_12,
    #[value(name = "imagenet-resnet18")]
    ImagenetResnet18,
    #[value(name = "imagenet-resnet34")]
    ImagenetResnet34,
    #[value(name = "imagenet-resnet50")]
    ImagenetResnet50,
    #[value(name = "imagenet-resnet101")]
    ImagenetResnet101,
    #[value(name = "imagenet-resnet152")]
    ImagenetResnet152,
}

impl ModelName {
    pub(crate) fn config(self, classes: usize) -> BackboneConfig {
        match self {
            ModelName::Resnet20 => BackboneConfig::resnet(20, classes),
            ModelName::Resnet32 => BackboneConfig::resnet(32, classes),
            ModelName::Resnet44 => BackboneConfig::resnet(44, classes),
            ModelName::Resnet56 => BackboneConfig::resnet(56, classes),
            ModelName::Resnet110 => BackboneConfig::resnet(110, classes),
            ModelName::Resnet164 => BackboneConfig::bottleneck(164, classes),
            ModelName::PreactResnet110 => {
                BackboneConfig::new(Family::Resnet { depth: 110, pre_activation: true }, classes)
            }
            ModelName::PreactResnet164 => {
                let channels = BottleneckChannels::Textbook;
                let family = Family::Bottleneck { depth: 164, pre_activation: true, channels };
                BackboneConfig::new(family, classes)
            }
            ModelName::ShakeShake26_32 => {
                BackboneConfig::new(Family::ShakeShake { depth: 26, base: 32 }, classes)
            }
            ModelName::ShakeShake26_96 => {
                BackboneConfig::new(Family::ShakeShake { depth: 26, base: 96 }, classes)
            }
            ModelName::Densenet100_12 => {
                BackboneConfig::new(Family::Densenet { depth: 100, growth: 12 }, classes)
            }
            ModelName::Wrn16_4 => BackboneConfig::wide_resnet(16, 4, classes),
            ModelName::Wrn28_10 => BackboneConfig::wide_resnet(28, 10, classes),
            ModelName::Wrn40_4 => BackboneConfig::wide_resnet(40, 4, classes),
            ModelName::ImagenetResnet18 => imagenet(18, classes),
            ModelName::ImagenetResnet34 => imagenet(34, classes),
            ModelName::ImagenetResnet50 => imagenet(50, classes),
            ModelName::ImagenetResnet101 => imagenet(101, classes),
            ModelName::ImagenetResnet152 => imagenet(152, classes),
        }
    }
}

fn imagenet(depth: usize, classes: usize) -> BackboneConfig {
    BackboneConfig::new(Family::ImagenetResnet { depth }, classes)
}

/// A [`GatePlacement`].
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PlacementName {
    /// Those of the last convolution of every residual unit, the paper's
    ResidualOutput,
    /// Those of the other convolutions of a unit: a closed one saves work in two
    Hidden,
    /// Both
    All,
}

impl From<PlacementName> for GatePlacement {
    fn from(name: PlacementName) -> GatePlacement {
        match name {
            PlacementName::ResidualOutput => GatePlacement::ResidualOutput,
            PlacementName::Hidden => GatePlacement::Hidden,
            PlacementName::All => GatePlacement::All,
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_of(self, f)
    }
}

impl fmt::Display for PlacementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_of(self, f)
    }
}

/// Writes a value as the command line takes it.
pub(crate) fn name_of(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(value.to_possible_value().as_ref().map_or("", PossibleValue::get_name))
}
