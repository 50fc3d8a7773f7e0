//! Networks as the command line names them.

use std::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use gaternet::models::GatePlacement;

/// A CIFAR ResNet.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ModelName {
    Resnet20,
    Resnet32,
    Resnet44,
    Resnet56,
    Resnet110,
}

impl ModelName {
    pub(crate) fn depth(self) -> usize {
        match self {
            ModelName::Resnet20 => 20,
            ModelName::Resnet32 => 32,
            ModelName::Resnet44 => 44,
            ModelName::Resnet56 => 56,
            ModelName::Resnet110 => 110,
        }
    }
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
