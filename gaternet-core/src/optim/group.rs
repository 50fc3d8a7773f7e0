//! Parameters with settings of their own.

use crate::error::{Error, Result};
use crate::parameter::Parameter;

/// Parameters with settings of their own, as PyTorch's parameter groups. What is in no group does
/// not move.
///
/// ```
/// use gaternet_core::optim::{ParameterGroup, Sgd, SgdConfig};
/// # use gaternet_core::{Parameter, Tensor};
/// # let all = vec![("gater.a".to_owned(), Parameter::new(Tensor::scalar(1.0)))];
/// let (gater, backbone) = all.into_iter().partition(|(name, _)| name.starts_with("gater."));
/// let gater =
///     ParameterGroup::new(gater).with_learning_rate_factor(0.1).with_weight_decay(Some(0.0));
/// let sgd = Sgd::with_groups(vec![ParameterGroup::new(backbone), gater], SgdConfig::default())?;
/// # Ok::<(), gaternet_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ParameterGroup {
    /// By name.
    pub parameters: Vec<(String, Parameter)>,
    /// The learning rate of these is that of the optimiser times this, whatever its schedule.
    pub learning_rate_factor: f32,
    /// In place of that of the optimiser's settings.
    pub weight_decay: Option<f32>,
}

impl ParameterGroup {
    /// Parameters with the settings of the optimiser.
    #[must_use]
    pub fn new(parameters: Vec<(String, Parameter)>) -> ParameterGroup {
        ParameterGroup { parameters, learning_rate_factor: 1.0, weight_decay: None }
    }

    /// The same parameters with this [`learning_rate_factor`](Self::learning_rate_factor).
    #[must_use]
    pub fn with_learning_rate_factor(self, learning_rate_factor: f32) -> ParameterGroup {
        ParameterGroup { learning_rate_factor, ..self }
    }

    /// The same parameters with this [`weight_decay`](Self::weight_decay), or with that of the
    /// optimiser's settings.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: Option<f32>) -> ParameterGroup {
        ParameterGroup { weight_decay, ..self }
    }

    pub(super) fn validate(&self) -> Result<()> {
        not_negative("learning_rate_factor", self.learning_rate_factor)?;
        not_negative("weight_decay", self.weight_decay.unwrap_or(0.0))
    }
}

/// `Err` unless `value` is finite and not negative.
pub(super) fn not_negative(field: &'static str, value: f32) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    let rule = "must be finite and not negative";
    Err(Error::Config { field, value: value.to_string(), rule })
}
