//! Stochastic gradient descent, exactly as `torch.optim.SGD`.

use std::collections::HashMap;

use gaternet_kernels::cpu::sgd as kernel;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::group::not_negative;
use super::{Optimizer, ParameterGroup};
use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::parameter::Parameter;
use crate::storage;
use crate::tensor::Tensor;

/// The settings of [`Sgd`]. By default those of the paper: learning rate 0.1, Nesterov momentum
/// 0.9, weight decay 1e-4.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
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
    /// The same settings with this step size.
    #[must_use]
    pub fn with_learning_rate(self, learning_rate: f32) -> SgdConfig {
        SgdConfig { learning_rate, ..self }
    }

    /// The same settings with this momentum.
    #[must_use]
    pub fn with_momentum(self, momentum: f32) -> SgdConfig {
        SgdConfig { momentum, ..self }
    }

    /// The same settings with this dampening.
    #[must_use]
    pub fn with_dampening(self, dampening: f32) -> SgdConfig {
        SgdConfig { dampening, ..self }
    }

    /// The same settings with this weight decay.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: f32) -> SgdConfig {
        SgdConfig { weight_decay, ..self }
    }

    /// The same settings with this choice of Nesterov momentum.
    #[must_use]
    pub fn with_nesterov(self, nesterov: bool) -> SgdConfig {
        SgdConfig { nesterov, ..self }
    }

    fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("learning_rate", self.learning_rate),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
        ] {
            not_negative(field, value)?;
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
///
/// A [frozen](Parameter::set_requires_grad) parameter stays as it is, and so does its velocity.
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    /// With the velocity of each; `None` without momentum.
    entries: Entries<Tensor>,
}

/// What an [`Sgd`] does with one parameter: for code that takes its steps elsewhere.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SgdParameter<'a> {
    /// As in [`Optimizer::state`].
    pub name: &'a str,
    /// The parameter.
    pub parameter: &'a Parameter,
    /// Times the optimiser's learning rate.
    pub learning_rate_factor: f32,
    /// Its weight decay.
    pub weight_decay: f32,
    /// Its velocity, after the first step.
    pub velocity: Option<&'a Tensor>,
}

impl Sgd {
    /// An optimiser of these parameters.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range or two parameters have one name.
    pub fn new(parameters: Vec<(String, Parameter)>, config: SgdConfig) -> Result<Sgd> {
        Sgd::with_groups(vec![ParameterGroup::new(parameters)], config)
    }

    /// An optimiser of parameters with settings of their own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_groups(groups: Vec<ParameterGroup>, config: SgdConfig) -> Result<Sgd> {
        config.validate()?;
        Ok(Sgd { config, entries: Entries::new(groups)? })
    }

    /// The settings; the learning rate is that of the next step.
    #[must_use]
    pub fn config(&self) -> SgdConfig {
        self.config
    }

    /// Every parameter with its own settings.
    pub fn parameters(&self) -> impl Iterator<Item = SgdParameter<'_>> {
        self.entries.iter().map(|Entry { group, name, parameter, state }| SgdParameter {
            name,
            parameter,
            learning_rate_factor: group.learning_rate_factor,
            weight_decay: group.weight_decay.unwrap_or(self.config.weight_decay),
            velocity: state,
        })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, gradients: &Gradients) -> Result<()> {
        let SgdConfig { learning_rate: lr, momentum, dampening, weight_decay, nesterov } =
            self.config;
        self.entries.step(gradients, |group, parameter, state, gradient| {
            let config = kernel::SgdConfig {
                lr: lr * group.learning_rate_factor,
                momentum,
                dampening,
                weight_decay: group.weight_decay.unwrap_or(weight_decay),
                nesterov,
            };
            let first = state.is_none();
            if first && momentum != 0.0 {
                let unset = storage::take(gradient.len());
                *state = Some(Tensor::new(unset, gradient.shape())?);
            }
            let velocity = state.as_mut().map_or(&mut [][..], Tensor::data_mut);
            let (isa, gradient) = (gradient.isa()?, gradient.data());
            parameter.update(|p| kernel::step(isa, config, first, p, velocity, gradient))?;
            Ok(())
        })
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

    fn groups(&self) -> &[ParameterGroup] {
        self.entries.groups()
    }

    /// The velocities by parameter name; none before the first step or without momentum.
    fn state(&self) -> Vec<(String, Tensor)> {
        let entries = self.entries.iter();
        entries.filter_map(|entry| Some((entry.name.to_owned(), entry.state?.clone()))).collect()
    }

    /// Parameters that `state` does not name start without velocity.
    fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let mut state: HashMap<String, Tensor> = state.into_iter().collect();
        let mut velocities = Vec::new();
        for Entry { name, parameter, .. } in self.entries.iter() {
            let velocity = state.remove(name);
            let expected = parameter.shape();
            if let Some(got) = velocity.as_ref().filter(|v| v.shape() != &expected) {
                return Err(Error::Shape {
                    op: "sgd",
                    rule: "a velocity must have its parameter's shape",
                    got: format!("{} for {name} {expected}", got.shape()),
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
        self.entries.set_states(velocities);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gaternet_kernels::reference::sgd as reference;

    use super::*;
    use crate::optim::testing::{gradients, parameters, values, widen};

    #[test]
    fn five_steps_follow_the_reference() {
        let plain = SgdConfig { momentum: 0.0, nesterov: false, ..SgdConfig::default() };
        let heavy = SgdConfig { nesterov: false, dampening: 0.2, ..SgdConfig::default() };
        for config in [SgdConfig::default(), plain, heavy] {
            let parameters = parameters();
            let mut sgd = Sgd::new(parameters.clone(), config).expect("in range");
            let mut want: Vec<Vec<f64>> = values(&parameters).iter().map(|x| widen(x)).collect();
            let mut velocities = vec![vec![0.0; 5]; 2];
            let SgdConfig { learning_rate: lr, momentum, dampening, weight_decay, nesterov } =
                config;
            let kernel = kernel::SgdConfig { lr, momentum, dampening, weight_decay, nesterov };
            for step in 0..5 {
                sgd.step(&gradients(&parameters)).expect("all have gradients");
                for (want, velocity) in want.iter_mut().zip(&mut velocities) {
                    let grad: Vec<f64> = want.iter().map(|x| 2.0 * x).collect();
                    let moved = reference::step(&kernel, step == 0, want, velocity, &grad);
                    (*want, *velocity) = moved;
                }
                for (got, want) in values(&parameters).iter().zip(&want) {
                    for (got, want) in widen(got).iter().zip(want) {
                        let error = (got - want).abs();
                        assert!(error < 1e-5, "{config:?}, step {step}: {got}, not {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_resumed_run_repeats_the_uninterrupted_one_bit_by_bit() {
        let whole = parameters();
        let mut sgd = Sgd::new(whole.clone(), SgdConfig::default()).expect("in range");
        assert!(sgd.state().is_empty(), "no velocity before the first step");
        sgd.step(&gradients(&whole)).expect("all have gradients");

        let (resumed, saved) = (parameters(), sgd.state());
        for ((_, to), (_, from)) in resumed.iter().zip(&whole) {
            to.set(&from.tensor()).expect("one shape");
        }
        let mut again = Sgd::new(resumed.clone(), SgdConfig::default()).expect("in range");
        again.load_state(saved.clone()).expect("the same parameters");
        for _ in 0..3 {
            sgd.step(&gradients(&whole)).expect("all have gradients");
            again.step(&gradients(&resumed)).expect("all have gradients");
        }
        assert_eq!(values(&whole), values(&resumed));
        let at_save = saved[0].1.data();
        assert_ne!(sgd.state()[0].1.data(), at_save, "saved velocities do not move along");
    }

    #[test]
    fn groups_have_their_own_rate_and_decay_and_the_rest_is_frozen() {
        let train = |all: &[(String, Parameter)], mut sgd: Sgd| {
            for halving in [1.0, 1.0, 0.5] {
                let rate = sgd.learning_rate() * halving;
                sgd.set_learning_rate(rate).expect("in range");
                sgd.step(&gradients(all)).expect("all have gradients");
            }
            values(all)
        };
        let config = SgdConfig::default();
        let alone = |learning_rate, weight_decay| {
            let (all, config) = (parameters(), SgdConfig { learning_rate, weight_decay, ..config });
            let sgd = Sgd::new(all.clone(), config).expect("in range");
            train(&all, sgd)
        };
        let mut all = parameters();
        all.push(("c".to_owned(), Parameter::new(Tensor::full([5], 2.0).expect("small"))));
        let own = ParameterGroup::new(vec![all[1].clone()])
            .with_learning_rate_factor(0.5)
            .with_weight_decay(Some(0.25));
        let groups = vec![ParameterGroup::new(vec![all[0].clone()]), own];
        let sgd = Sgd::with_groups(groups, config).expect("in range");
        let got = train(&all, sgd);
        assert_eq!(got[0], alone(0.1, 1e-4)[0], "the optimiser's settings");
        assert_eq!(got[1], alone(0.05, 0.25)[1], "its own");
        assert_eq!(got[2], [2.0; 5], "in no group");
    }

    #[test]
    fn a_frozen_parameter_rests_and_goes_on_later() {
        let (all, alone) = (parameters(), parameters());
        let mut sgd = Sgd::new(all.clone(), SgdConfig::default()).expect("in range");
        let mut other = Sgd::new(alone[1..].to_vec(), SgdConfig::default()).expect("in range");
        let frozen = values(&all);
        all[0].1.set_requires_grad(false);
        // No decay either.
        sgd.step(&gradients(&all)).expect("what is trained has gradients");
        other.step(&gradients(&alone[1..])).expect("all have gradients");
        assert_eq!(values(&all)[0], frozen[0]);
        assert_eq!(sgd.state().len(), 1, "no velocity of the frozen one");
        all[0].1.set_requires_grad(true);
        for _ in 0..2 {
            sgd.step(&gradients(&all)).expect("all have gradients");
            other.step(&gradients(&alone[1..])).expect("all have gradients");
        }
        assert_eq!(values(&all)[1], values(&alone)[1]);
        assert_ne!(values(&all)[0], frozen[0]);
    }

    #[test]
    fn a_missing_gradient_is_named_and_nothing_moves() {
        let parameters = parameters();
        let before = values(&parameters);
        let mut sgd = Sgd::new(parameters.clone(), SgdConfig::default()).expect("in range");
        let error = sgd.step(&gradients(&parameters[..1])).expect_err("b has none").to_string();
        assert!(error.contains("parameter `b`"), "{error}");
        assert_eq!(values(&parameters), before);
        assert!(sgd.state().is_empty());
    }

    #[test]
    fn state_of_other_parameters_is_refused() {
        let mut sgd = Sgd::new(parameters(), SgdConfig::default()).expect("in range");
        let velocity = |n: usize| Tensor::zeros([n]).expect("small");
        for (name, len, text) in [("c", 5, "got c"), ("b", 4, "(4,) for b (5,)")] {
            let error = sgd
                .load_state(vec![("a".to_owned(), velocity(5)), (name.to_owned(), velocity(len))]);
            let error = error.expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
            assert!(sgd.state().is_empty());
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let default = SgdConfig::default();
        for (config, field) in [
            (SgdConfig { learning_rate: -0.1, ..default }, "learning_rate"),
            (SgdConfig { learning_rate: f32::NAN, ..default }, "learning_rate"),
            (SgdConfig { weight_decay: f32::INFINITY, ..default }, "weight_decay"),
            (SgdConfig { momentum: 0.0, ..default }, "nesterov"),
        ] {
            let error = Sgd::new(parameters(), config).expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
        let group = ParameterGroup::new(parameters());
        for (group, field) in [
            (group.clone().with_learning_rate_factor(-1.0), "learning_rate_factor"),
            (group.with_weight_decay(Some(f32::NAN)), "weight_decay"),
        ] {
            let error = Sgd::with_groups(vec![group], default).expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
        let mut sgd = Sgd::new(parameters(), default).expect("in range");
        assert!(sgd.set_learning_rate(-1.0).is_err());
        assert_eq!(sgd.learning_rate(), 0.1);
        let mut twice = parameters();
        twice[1].0 = "a".to_owned();
        assert!(Sgd::new(twice, default).is_err(), "one name twice");
    }
}
