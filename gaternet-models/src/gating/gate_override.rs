//! Convolutions whose gates do not follow the placement.

use gaternet_core::{Error, Result};
use glob::Pattern;
use serde::{Deserialize, Serialize};

use crate::network::{ConvRole, ConvSpec};

/// A rule by name that convolutions are gated or not, whatever the placement. If several rules
/// match a name, the last one decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateOverride {
    /// State-dict names of the convolutions: `*` stands for any characters, `?` for one, `[ab]` for
    /// one of these. `stage1.*` is a whole stage, `*.conv2` the second convolution of every block.
    pub convs: String,
    /// Whether they are gated. Only a convolution with a [`ConvRole`] other than `Ungated` can be.
    pub gated: bool,
}

impl GateOverride {
    /// # Errors
    /// [`Error::Config`] if `convs` is not a valid pattern.
    pub fn validate(&self) -> Result<()> {
        self.pattern().map(|_| ())
    }

    fn pattern(&self) -> Result<Pattern> {
        Pattern::new(&self.convs).map_err(|error| Error::Config {
            field: "gate override",
            value: format!("{} ({error})", self.convs),
            rule: "must be a pattern of names, with * for any characters",
        })
    }
}

/// Applies the overrides to `gated`, which has one value for each of `convs`.
pub(crate) fn apply(
    overrides: &[GateOverride],
    convs: &[ConvSpec],
    gated: &mut [bool],
) -> Result<()> {
    let gateable = |conv: &ConvSpec| conv.role != ConvRole::Ungated;
    for one in overrides {
        let pattern = one.pattern()?;
        let mut matched = false;
        for (conv, gated) in convs.iter().zip(gated.iter_mut()) {
            if gateable(conv) && pattern.matches(&conv.name) {
                (matched, *gated) = (true, one.gated);
            }
        }
        if !matched {
            let convs = convs.iter().filter(|conv| gateable(conv));
            let names: Vec<_> = convs.map(|conv| conv.name.as_str()).collect();
            return Err(Error::Config {
                field: "gate override",
                value: format!("{} (of {})", one.convs, names.join(", ")),
                rule: "must match the name of a convolution that can be gated",
            });
        }
    }
    Ok(())
}
