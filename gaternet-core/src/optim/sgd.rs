//! Stochastic gradient descent, exactly as `torch.optim.SGD`.

use std::collections::HashMap;

use gaternet_kernels::Isa;
use gaternet_kernels::cpu::sgd as kernel;
use serde::{Deserialize, Serialize};

use super::Optimizer;
use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::parameter::Parameter;
use crate::storage;
use crate::tensor::Tensor;

/// The settings of [`Sgd`]. By default those of the paper: learning rate 0.1, Nesterov momentum
/// 0.9, weight decay 1e-4.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Step size.
    pub learning_rate: f32,
    /// Share of the velocity that is kept; 0 for plain gradient descent.
    pub momentum: f32,
    /// Share of the gradient that does not enter the velocity.
    pub dampening: f32,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

impl Default for SgdConfig {
    fn default() -> SgdConfig {
        SgdConfig {
            learning_rate: 0.1,
            momentum: 0.9,
            dampening: 0.0,
            weight_decay: 1e-4,
            nesterov: true,
        }
    }
}

impl SgdConfig {
    fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("learning_rate", self.learning_rate),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let rule = "must be finite and not negative";
                return Err(Error::Config { field, value: value.to_string(), rule });
            }
        }
        if !self.dampening.is_finite() {
            let value = self.dampening.to_string();
            return Err(Error::Config { field: "dampening", value, rule: "must be finite" });
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err(Error::Config {
                field: "nesterov",
                value: format!("momentum {}, dampening {}", self.momentum, self.dampening),
                rule: "Nesterov momentum needs a momentum and no dampening",
            });
        }
        Ok(())
    }
}

/// Stochastic gradient descent with momentum.
///
/// `g = gradient + weight_decay · p`; the velocity is `v = g` in the first step and
/// `v = momentum · v + (1 - dampening) · g` later; `p -= learning_rate · v`, or with Nesterov
/// momentum `p -= learning_rate · (g + momentum · v)`.
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    parameter: Parameter,
    /// `None` before the first step, and without momentum.
    velocity: Option<Tensor>,
}

impl Sgd {
    /// An optimiser of these parameters.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range or two parameters have one name.
    pub fn new(parameters: Vec<(String, Parameter)>, config: SgdConfig) -> Result<Sgd> {
        config.validate()?;
        let mut names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Config {
                field: "parameters",
                value: pair[0].to_owned(),
                rule: "each name must occur once",
            });
        }
        let entry = |(name, parameter)| Entry { name, parameter, velocity: None };
        Ok(Sgd { config, entries: parameters.into_iter().map(entry).collect() })
    }

    /// The velocities by parameter name; none before the first step or without momentum.
    #[must_use]
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let entries = self.entries.iter();
        entries.filter_map(|e| Some((e.name.clone(), e.velocity.clone()?))).collect()
    }

    /// Continues from what [`state`](Self::state) returned. Parameters that `state` does not name
    /// start without velocity.
    ///
    /// # Errors
    /// [`Error::Shape`] if a name is unknown or a shape is not the parameter's; then nothing has
    /// changed.
    pub fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let mut state: HashMap<String, Tensor> = state.into_iter().collect();
        let mut velocities = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let velocity = state.remove(&entry.name);
            let expected = entry.parameter.tensor();
            if let Some(got) = velocity.as_ref().filter(|v| v.shape() != expected.shape()) {
                return Err(Error::Shape {
                    op: "sgd",
                    rule: "a velocity must have its parameter's shape",
                    got: format!("{} for {} {}", got.shape(), entry.name, expected.shape()),
                });
            }
            velocities.push(velocity.map(|velocity| velocity.detach()));
        }
        if let Some(name) = state.keys().min() {
            return Err(Error::Shape {
                op: "sgd",
                rule: "a velocity must be of one of the parameters",
                got: name.clone(),
            });
        }
        for (entry, velocity) in self.entries.iter_mut().zip(velocities) {
            entry.velocity = velocity;
        }
        Ok(())
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, gradients: &Gradients) -> Result<()> {
        let isa = Isa::current()?;
        let mut found = Vec::with_capacity(self.entries.len());
        for Entry { name, parameter, .. } in &self.entries {
            found.push(gradients.get(parameter).map_err(|_| Error::MissingGradient {
                what: format!("parameter `{name}`"),
                rule: "the loss was not computed from it",
            })?);
        }
        let SgdConfig { learning_rate: lr, momentum, dampening, weight_decay, nesterov } =
            self.config;
        let config = kernel::SgdConfig { lr, momentum, dampening, weight_decay, nesterov };
        for (entry, gradient) in self.entries.iter_mut().zip(found) {
            let first = entry.velocity.is_none();
            if first && momentum != 0.0 {
                let unset = storage::take(gradient.len());
                entry.velocity = Some(Tensor::new(unset, gradient.shape())?);
            }
            let velocity = entry.velocity.as_mut().map_or(&mut [][..], Tensor::data_mut);
            let gradient = gradient.data();
            entry.parameter.update(|p| kernel::step(isa, config, first, p, velocity, gradient))?;
        }
        Ok(())
    }

    fn learning_rate(&self) -> f32 {
        self.config.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f32) -> Result<()> {
        let config = SgdConfig { learning_rate, ..self.config };
        config.validate()?;
        self.config = config;
        Ok(())
    }
}
