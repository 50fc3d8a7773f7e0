//! Backbones by name.

use std::fmt;
use std::str::FromStr;

use gaternet_core::{Error, Result};

use super::config::{BackboneConfig, BottleneckChannels, Family};

/// A backbone that has a name; `imagenet-*` are for images of 224x224, the others for 32x32.
///
/// ```
/// use gaternet_models::{BackboneConfig, ModelName};
///
/// let name: ModelName = "wrn16-4".parse()?;
/// assert_eq!(name.config(10), BackboneConfig::wide_resnet(16, 4, 10));
/// # Ok::<(), gaternet_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are what their names say")]
#[non_exhaustive]
pub enum ModelName {
    Resnet20,
    Resnet32,
    Resnet44,
    Resnet56,
    Resnet110,
    Resnet164,
    PreactResnet110,
    PreactResnet164,
    Wrn16_4,
    Wrn28_10,
    Wrn40_4,
    ShakeShake26_32,
    ShakeShake26_96,
    Densenet100_12,
    ImagenetResnet18,
    ImagenetResnet34,
    ImagenetResnet50,
    ImagenetResnet101,
    ImagenetResnet152,
}

impl ModelName {
    /// All of them.
    pub const ALL: [ModelName; 19] = [
        ModelName::Resnet20,
        ModelName::Resnet32,
        ModelName::Resnet44,
        ModelName::Resnet56,
        ModelName::Resnet110,
        ModelName::Resnet164,
        ModelName::PreactResnet110,
        ModelName::PreactResnet164,
        ModelName::Wrn16_4,
        ModelName::Wrn28_10,
        ModelName::Wrn40_4,
        ModelName::ShakeShake26_32,
        ModelName::ShakeShake26_96,
        ModelName::Densenet100_12,
        ModelName::ImagenetResnet18,
        ModelName::ImagenetResnet34,
        ModelName::ImagenetResnet50,
        ModelName::ImagenetResnet101,
        ModelName::ImagenetResnet152,
    ];

    /// As a command line has it: `resnet20`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ModelName::Resnet20 => "resnet20",
            ModelName::Resnet32 => "resnet32",
            ModelName::Resnet44 => "resnet44",
            ModelName::Resnet56 => "resnet56",
            ModelName::Resnet110 => "resnet110",
            ModelName::Resnet164 => "resnet164",
            ModelName::PreactResnet110 => "preact-resnet110",
            ModelName::PreactResnet164 => "preact-resnet164",
            ModelName::Wrn16_4 => "wrn16-4",
            ModelName::Wrn28_10 => "wrn28-10",
            ModelName::Wrn40_4 => "wrn40-4",
            ModelName::ShakeShake26_32 => "shake-shake26-32",
            ModelName::ShakeShake26_96 => "shake-shake26-96",
            ModelName::Densenet100_12 => "densenet100-12",
            ModelName::ImagenetResnet18 => "imagenet-resnet18",
            ModelName::ImagenetResnet34 => "imagenet-resnet34",
            ModelName::ImagenetResnet50 => "imagenet-resnet50",
            ModelName::ImagenetResnet101 => "imagenet-resnet101",
            ModelName::ImagenetResnet152 => "imagenet-resnet152",
        }
    }

    /// What the name leaves open.
    #[must_use]
    pub fn description(self) -> Option<&'static str> {
        match self {
            ModelName::Resnet164 => Some("Bottleneck blocks with the GaterNet paper's channels"),
            ModelName::ShakeShake26_32 => Some("Shake-Shake-26 2x32d"),
            ModelName::ShakeShake26_96 => Some("Shake-Shake-26 2x96d"),
            ModelName::Densenet100_12 => Some("DenseNet-BC-100-12"),
            _ => None,
        }
    }

    /// Its configuration for so many classes.
    #[must_use]
    pub fn config(self, classes: usize) -> BackboneConfig {
        let imagenet = |depth| BackboneConfig::new(Family::ImagenetResnet { depth }, classes);
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
                let channels = BottleneckChannels::Standard;
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
            ModelName::ImagenetResnet18 => imagenet(18),
            ModelName::ImagenetResnet34 => imagenet(34),
            ModelName::ImagenetResnet50 => imagenet(50),
            ModelName::ImagenetResnet101 => imagenet(101),
            ModelName::ImagenetResnet152 => imagenet(152),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ModelName> {
        let named = ModelName::ALL.into_iter().find(|name| name.name() == text);
        named.ok_or_else(|| Error::Config {
            field: "model",
            value: format!("{text:?}"),
            rule: "must be a name of ModelName::ALL, as in resnet20",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_of_a_network_that_can_be_built_and_of_one_only() {
        for name in ModelName::ALL {
            assert_eq!(name.to_string().parse::<ModelName>().expect("its name"), name);
            name.config(10).validate().expect("a network");
        }
        let error = "resnet21".parse::<ModelName>().expect_err("none").to_string();
        assert!(error.contains("model = \"resnet21\""), "{error}");
    }
}
