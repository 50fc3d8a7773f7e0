//! Adam with decoupled weight decay, as `torch.optim.AdamW`.

use std::collections::HashMap;

use gaternet_kernels::cpu::adamw as kernel;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::group::not_negative;
use super::{Optimizer, ParameterGroup};
use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::parameter::Parameter;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Suffixes of the state of a parameter, which are PyTorch's.
const MEAN: &str = "exp_avg";
const SQUARE: &str = "exp_avg_sq";
const STEP: &str = "step";

/// The settings of [`AdamW`]; by default those of PyTorch: learning rate 0.001, betas 0.9 and
/// 0.999, eps 1e-8, weight decay 0.01.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdamWConfig {
    /// Step size.
    pub learning_rate: f32,
    /// Fractions of the mean gradient and of the mean square that are kept in a step, each in [0,
    /// 1).
    pub betas: [f64; 2],
    /// Added to the root of the mean square, so that a gradient of 0 divides by something.
    pub eps: f64,
    /// Fraction of a parameter that a step subtracts, times the learning rate.
    pub weight_decay: f32,
}

impl Default for AdamWConfig {
    fn default() -> AdamWConfig {
        AdamWConfig { learning_rate: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-2 }
    }
}

impl AdamWConfig {
    /// The same settings with this step size.
    #[must_use]
    pub fn with_learning_rate(self, learning_rate: f32) -> AdamWConfig {
        AdamWConfig { learning_rate, ..self }
    }

    /// The same settings with this pair of betas.
    #[must_use]
    pub fn with_betas(self, betas: [f64; 2]) -> AdamWConfig {
        AdamWConfig { betas, ..self }
    }

    /// The same settings with this eps.
    #[must_use]
    pub fn with_eps(self, eps: f64) -> AdamWConfig {
        AdamWConfig { eps, ..self }
    }

    /// The same settings with this weight decay.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: f32) -> AdamWConfig {
        AdamWConfig { weight_decay, ..self }
    }

    fn validate(&self) -> Result<()> {
        not_negative("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)?;
        let fail =
            |field, value: f64, rule| Err(Error::Config { field, value: value.to_string(), rule });
        for beta in self.betas {
            if !(0.0..1.0).contains(&beta) {
                return fail("betas", beta, "must be at least 0 and below 1");
            }
        }
        match self.eps.is_finite() && self.eps >= 0.0 {
            true => Ok(()),
            false => fail("eps", self.eps, "must be finite and not negative"),
        }
    }
}

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101).
///
/// In its step t, a parameter p with gradient g moves by
///
/// ```text
/// p -= learning_rate · weight_decay · p
/// m = beta1 · m + (1 - beta1) · g;    v = beta2 · v + (1 - beta2) · g²
/// p -= learning_rate · m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// with m and v that start as 0. A [frozen](Parameter::set_requires_grad) parameter stays as it is,
/// and so do its m, v and t.
///
/// ```
/// use gaternet_core::optim::{AdamW, AdamWConfig, Optimizer};
/// # use gaternet_core::{Ctx, Parameter, Tensor, ops};
/// # let weight = Parameter::new(Tensor::scalar(1.0));
/// # let parameters = vec![("weight".to_owned(), weight.clone())];
/// # let loss = ops::scale(&weight.value(&Ctx::train(0)), 3.0)?;
/// let mut adamw = AdamW::new(parameters, AdamWConfig::default())?;
/// adamw.step(&loss.backward()?)?;
/// # assert!((weight.tensor().item()? - (1.0 - 1e-5 - 1e-3)).abs() < 1e-6);
/// # Ok::<(), gaternet_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    entries: Entries<Moments>,
}

/// The state of a parameter.
#[derive(Debug)]
struct Moments {
    mean: Tensor,
    square: Tensor,
    /// Steps that the parameter has moved.
    steps: u64,
}

impl AdamW {
    /// An optimiser of these parameters.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range or two parameters have one name.
    pub fn new(parameters: Vec<(String, Parameter)>, config: AdamWConfig) -> Result<AdamW> {
        AdamW::with_groups(vec![ParameterGroup::new(parameters)], config)
    }

    /// An optimiser of parameters with settings of their own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_groups(groups: Vec<ParameterGroup>, config: AdamWConfig) -> Result<AdamW> {
        config.validate()?;
        Ok(AdamW { config, entries: Entries::new(groups)? })
    }

    /// The settings; the learning rate is that of the next step.
    #[must_use]
    pub fn config(&self) -> AdamWConfig {
        self.config
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, gradients: &Gradients) -> Result<()> {
        let AdamWConfig { learning_rate, betas: [beta1, beta2], eps, weight_decay } = self.config;
        self.entries.step(gradients, |group, parameter, state, gradient| {
            let config = kernel::AdamWConfig {
                lr: f64::from(learning_rate) * f64::from(group.learning_rate_factor),
                beta1,
                beta2,
                eps,
                weight_decay: f64::from(group.weight_decay.unwrap_or(weight_decay)),
            };
            let state = match state {
                Some(state) => state,
                None => state.insert(Moments {
                    mean: Tensor::zeros(gradient.shape())?,
                    square: Tensor::zeros(gradient.shape())?,
                    steps: 0,
                }),
            };
            let number = state.steps + 1;
            let moments =
                kernel::Moments { mean: state.mean.data_mut(), square: state.square.data_mut() };
            let (isa, gradient) = (gradient.isa()?, gradient.data());
            parameter.update(|p| kernel::step(isa, config, number, p, moments, gradient))?;
            state.steps = number;
            Ok(())
        })
    }

    fn learning_rate(&self) -> f32 {
        self.config.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f32) -> Result<()> {
        let config = AdamWConfig { learning_rate, ..self.config };
        config.validate()?;
        self.config = config;
        Ok(())
    }

    fn groups(&self) -> &[ParameterGroup] {
        self.entries.groups()
    }

    /// For a parameter `p` that has moved: `p.exp_avg`, `p.exp_avg_sq` and its number of steps
    /// `p.step`, shape `()`, which is exact to 2^24.
    fn state(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        for Entry { name, state, .. } in self.entries.iter() {
            let Some(Moments { mean, square, steps }) = state else { continue };
            let steps = Tensor::scalar(*steps as f32);
            for (suffix, value) in [(MEAN, mean), (SQUARE, square), (STEP, &steps)] {
                all.push((format!("{name}.{suffix}"), value.clone()));
            }
        }
        all
    }

    fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let mut given: HashMap<String, Tensor> = state.into_iter().collect();
        let states = self.entries.iter().map(|entry| moments(&mut given, &entry));
        let states = states.collect::<Result<Vec<_>>>()?;
        if let Some(name) = given.keys().min() {
            return Err(fail("a state must be of one of the parameters", name.clone()));
        }
        self.entries.set_states(states);
        Ok(())
    }
}

/// Takes the state of a parameter out of `given`.
fn moments(
    given: &mut HashMap<String, Tensor>,
    Entry { name, parameter, .. }: &Entry<'_, Moments>,
) -> Result<Option<Moments>> {
    let mut take = |suffix: &str| given.remove(&format!("{name}.{suffix}"));
    let (mean, square, steps) = match [MEAN, SQUARE, STEP].map(&mut take) {
        [None, None, None] => return Ok(None),
        [Some(mean), Some(square), Some(steps)] => (mean, square, steps),
        found => {
            let found = [MEAN, SQUARE, STEP].into_iter().zip(found);
            let missing: Vec<_> =
                found.filter(|(_, value)| value.is_none()).map(|(suffix, _)| suffix).collect();
            let got = format!("no {} for {name}", missing.join(" and no "));
            return Err(fail("the state of a parameter must be whole", got));
        }
    };
    let (shape, scalar) = (parameter.shape(), Shape::from([]));
    for (suffix, value, expected) in
        [(MEAN, &mean, &shape), (SQUARE, &square, &shape), (STEP, &steps, &scalar)]
    {
        if value.shape() != expected {
            let got = format!("{} for {name}.{suffix} {expected}", value.shape());
            return Err(fail("a state must have its parameter's shape", got));
        }
    }
    let steps = steps.item()?;
    if !(steps >= 1.0 && steps.fract() == 0.0 && steps.is_finite()) {
        let got = format!("{steps} for {name}.{STEP}");
        return Err(fail("a number of steps must be whole and positive", got));
    }
    let (mean, square) = (mean.detach(), square.detach());
    Ok(Some(Moments { mean, square, steps: steps as u64 }))
}

fn fail(rule: &'static str, got: String) -> Error {
    Error::Shape { op: "adamw", rule, got }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gaternet_kernels::reference::adamw as reference;

    use super::*;
    use crate::checkpoint::{self, Checkpoint};
    use crate::optim::testing::{gradients, parameters, values, widen};

    fn adamw(parameters: &[(String, Parameter)]) -> AdamW {
        AdamW::new(parameters.to_vec(), AdamWConfig::default()).expect("in range")
    }

    #[test]
    fn ten_steps_follow_the_reference() {
        let other =
            AdamWConfig { learning_rate: 0.05, betas: [0.5, 0.9], eps: 0.1, weight_decay: 0.3 };
        for config in [AdamWConfig::default(), other] {
            let parameters = parameters();
            let mut adamw = AdamW::new(parameters.clone(), config).expect("in range");
            let zeros = vec![0.0; 5];
            let mut want: Vec<[Vec<f64>; 3]> = values(&parameters)
                .iter()
                .map(|x| [widen(x), zeros.clone(), zeros.clone()])
                .collect();
            let AdamWConfig { learning_rate, betas: [beta1, beta2], eps, weight_decay } = config;
            let (lr, weight_decay) = (learning_rate.into(), weight_decay.into());
            let kernel = kernel::AdamWConfig { lr, beta1, beta2, eps, weight_decay };
            for number in 1..=10 {
                adamw.step(&gradients(&parameters)).expect("all have gradients");
                for want in &mut want {
                    let grad: Vec<f64> = want[0].iter().map(|x| 2.0 * x).collect();
                    *want = reference::step(&kernel, number, want, &grad);
                }
                for (got, want) in values(&parameters).iter().zip(&want) {
                    for (got, want) in widen(got).iter().zip(&want[0]) {
                        let error = (got - want).abs();
                        assert!(error < 1e-5, "{config:?}, step {number}: {got}, not {want}");
                    }
                }
            }
        }
    }

    /// What a checkpoint gives back of `state`.
    fn through_a_file(state: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("optimizer.safetensors");
        let entry = |(name, value): &(String, Tensor)| {
            (name.clone(), checkpoint::TensorValue::F32(value.clone()))
        };
        let tensors: Vec<_> = state.iter().map(entry).collect();
        checkpoint::save(&path, &tensors, &BTreeMap::new()).expect("finite numbers");
        let read = Checkpoint::load(&path).expect("as it was written").tensors;
        let tensor = |(name, value)| match value {
            checkpoint::TensorValue::F32(tensor) => (name, tensor),
            other => panic!("{other:?} was written as f32"),
        };
        read.into_iter().map(tensor).collect()
    }

    #[test]
    fn a_resumed_run_repeats_the_uninterrupted_one_bit_by_bit() {
        let whole = parameters();
        let mut uninterrupted = adamw(&whole);
        assert!(uninterrupted.state().is_empty(), "no moments before the first step");
        for _ in 0..3 {
            uninterrupted.step(&gradients(&whole)).expect("all have gradients");
        }

        let (resumed, saved) = (parameters(), uninterrupted.state());
        let names: Vec<&str> = saved.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..3], ["a.exp_avg", "a.exp_avg_sq", "a.step"]);
        assert_eq!(saved[2].1.item().expect("a scalar"), 3.0);
        for ((_, to), (_, from)) in resumed.iter().zip(&whole) {
            to.set(&from.tensor()).expect("one shape");
        }
        let mut again = adamw(&resumed);
        again.load_state(through_a_file(&saved)).expect("the same parameters");
        for _ in 0..3 {
            uninterrupted.step(&gradients(&whole)).expect("all have gradients");
            again.step(&gradients(&resumed)).expect("all have gradients");
        }
        assert_eq!(values(&whole), values(&resumed));
        let at_save = saved[0].1.data();
        assert_ne!(uninterrupted.state()[0].1.data(), at_save, "saved moments do not move along");
    }

    #[test]
    fn groups_have_their_own_rate_and_decay() {
        let alone = |learning_rate, weight_decay| {
            let (all, config) = (
                parameters(),
                AdamWConfig { learning_rate, weight_decay, ..AdamWConfig::default() },
            );
            let mut adamw = AdamW::new(all.clone(), config).expect("in range");
            for _ in 0..3 {
                adamw.step(&gradients(&all)).expect("all have gradients");
            }
            values(&all)
        };
        let all = parameters();
        let own = ParameterGroup::new(vec![all[1].clone()])
            .with_learning_rate_factor(0.5)
            .with_weight_decay(Some(0.25));
        let groups = vec![ParameterGroup::new(vec![all[0].clone()]), own];
        let config = AdamWConfig { learning_rate: 0.5, ..AdamWConfig::default() };
        let mut adamw = AdamW::with_groups(groups, config).expect("in range");
        for _ in 0..3 {
            adamw.step(&gradients(&all)).expect("all have gradients");
        }
        assert_eq!(values(&all)[0], alone(0.5, 0.01)[0], "the optimiser's settings");
        assert_eq!(values(&all)[1], alone(0.25, 0.25)[1], "its own");
        assert_eq!(adamw.groups()[1].learning_rate_factor, 0.5);
    }

    #[test]
    fn a_frozen_parameter_rests_and_counts_no_step() {
        let all = parameters();
        let (mut optimizer, before) = (adamw(&all), values(&all));
        all[0].1.set_requires_grad(false);
        optimizer.step(&gradients(&all)).expect("what is trained has gradients");
        assert_eq!(values(&all)[0], before[0], "no decay either");
        all[0].1.set_requires_grad(true);
        optimizer.step(&gradients(&all)).expect("all have gradients");
        let state: HashMap<_, _> = optimizer.state().into_iter().collect();
        let steps = ["a.step", "b.step"].map(|name| state[name].item().expect("a scalar"));
        assert_eq!(steps, [1.0, 2.0]);
        let fresh = parameters();
        adamw(&fresh).step(&gradients(&fresh)).expect("all have gradients");
        assert_eq!(values(&all)[0], values(&fresh)[0], "its first step is a first step");
    }

    #[test]
    fn a_missing_gradient_is_named_and_nothing_moves() {
        let parameters = parameters();
        let (mut adamw, before) = (adamw(&parameters), values(&parameters));
        let error = adamw.step(&gradients(&parameters[..1])).expect_err("b has none").to_string();
        assert!(error.contains("parameter `b`"), "{error}");
        assert_eq!(values(&parameters), before);
        assert!(adamw.state().is_empty());
    }

    #[test]
    fn state_that_does_not_fit_is_refused_and_named() {
        let mut adamw = adamw(&parameters());
        let state = |name: &str, len: usize, steps: f32| {
            let moment = || Tensor::zeros([len]).expect("small");
            vec![
                (format!("{name}.exp_avg"), moment()),
                (format!("{name}.exp_avg_sq"), moment()),
                (format!("{name}.step"), Tensor::scalar(steps)),
            ]
        };
        let mut half = state("a", 5, 1.0);
        half.remove(1);
        for (state, text) in [
            (state("c", 5, 1.0), "got c.exp_avg"),
            (state("b", 4, 1.0), "(4,) for b.exp_avg (5,)"),
            (state("a", 5, 0.0), "0 for a.step"),
            (state("a", 5, 1.5), "1.5 for a.step"),
            (state("a", 5, f32::NAN), "NaN for a.step"),
            (half, "no exp_avg_sq for a"),
        ] {
            let error = adamw.load_state(state).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
            assert!(adamw.state().is_empty());
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let default = AdamWConfig::default();
        for (config, field) in [
            (AdamWConfig { learning_rate: -0.1, ..default }, "learning_rate"),
            (AdamWConfig { weight_decay: f32::INFINITY, ..default }, "weight_decay"),
            (AdamWConfig { betas: [0.9, 1.0], ..default }, "betas = 1"),
            (AdamWConfig { betas: [f64::NAN, 0.9], ..default }, "betas = NaN"),
            (AdamWConfig { eps: -1e-8, ..default }, "eps"),
        ] {
            let error = AdamW::new(parameters(), config).expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
        let mut adamw = adamw(&parameters());
        assert!(adamw.set_learning_rate(-1.0).is_err());
        assert_eq!(adamw.learning_rate(), 1e-3);
    }
}
