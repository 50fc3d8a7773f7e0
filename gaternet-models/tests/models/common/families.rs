//! Small networks.

use gaternet_models::{BackboneConfig, BottleneckChannels, Family};

/// A small network of every other family.
pub(crate) fn families(classes: usize) -> Vec<BackboneConfig> {
    let bottleneck =
        |pre_activation, channels| Family::Bottleneck { depth: 11, pre_activation, channels };
    let scaled = |width, family| BackboneConfig { width, ..BackboneConfig::new(family, classes) };
    vec![
        scaled(0.5, bottleneck(false, BottleneckChannels::Paper)),
        scaled(0.5, bottleneck(true, BottleneckChannels::Standard)),
        BackboneConfig::new(Family::Resnet { depth: 8, pre_activation: true }, classes),
        BackboneConfig::new(Family::WideResnet { depth: 10, k: 1, dropout: 0.2 }, classes),
        BackboneConfig::new(Family::ShakeShake { depth: 8, base: 8 }, classes),
        BackboneConfig::new(Family::Densenet { depth: 10, growth: 12 }, classes),
        scaled(0.25, Family::ImagenetResnet { depth: 18 }),
        scaled(0.25, Family::ImagenetResnet { depth: 50 }),
        BackboneConfig { squeeze_excitation: Some(4), ..BackboneConfig::resnet(8, classes) },
    ]
}
