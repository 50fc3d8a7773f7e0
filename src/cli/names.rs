//! Networks as the command line names them.

use std::fmt;
use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use gaternet_models::{self as models, BackboneConfig, GatePlacement};

use crate::cli::command_line::write_value;

/// A backbone.
#[derive(Debug, Clone, Copy)]
pub struct ModelName(models::ModelName);

static MODELS: LazyLock<Vec<ModelName>> =
    LazyLock::new(|| models::ModelName::ALL.map(ModelName).to_vec());

impl ModelName {
    /// Its configuration for so many classes.
    #[must_use]
    pub fn config(self, classes: usize) -> BackboneConfig {
        self.0.config(classes)
    }
}

impl ValueEnum for ModelName {
    fn value_variants<'a>() -> &'a [ModelName] {
        &MODELS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.0.name());
        Some(match self.0.description() {
            Some(description) => value.help(description),
            None => value,
        })
    }
}

/// A [`GatePlacement`].
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PlacementName {
    /// Those of the last convolution of every block, the paper's
    #[value(alias = "residual-output")]
    BlockOutput,
    /// Those of the other convolutions of a block: an inactive one saves work in two
    #[value(alias = "hidden")]
    Inner,
    /// Both
    All,
}

impl From<PlacementName> for GatePlacement {
    fn from(name: PlacementName) -> GatePlacement {
        match name {
            PlacementName::BlockOutput => GatePlacement::BlockOutput,
            PlacementName::Inner => GatePlacement::Inner,
            PlacementName::All => GatePlacement::All,
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PlacementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}
