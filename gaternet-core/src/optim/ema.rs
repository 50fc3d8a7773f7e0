//! Averages of a model over its training.

use std::collections::HashMap;

use gaternet_kernels::Isa;
use gaternet_kernels::cpu::elementwise;

use crate::error::{Error, Result};
use crate::nn::State;
use crate::tensor::Tensor;

/// Exponential moving averages of a model's parameters and buffers:
/// `average = decay · average + (1 - decay) · value` after each step; the first update copies. Counters are
/// not averaged.
///
/// The averages often generalise better than the last weights, above all with a high learning rate or
/// noisy gates. Usual decays are 0.99 to 0.9999: `1 / (1 - decay)` steps enter.
#[derive(Debug)]
pub struct Ema {
    decay: f32,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    state: State,
    /// `None` before the first update.
    average: Option<Tensor>,
}

impl Ema {
    /// Averages of `state`, usually [`Module::state`](crate::nn::Module::state).
    ///
    /// # Errors
    /// [`Error::Config`] if the decay is not in [0, 1).
    pub fn new(state: Vec<(String, State)>, decay: f32) -> Result<Ema> {
        if !(0.0..1.0).contains(&decay) {
            let rule = "must be at least 0 and below 1";
            return Err(Error::Config { field: "ema decay", value: decay.to_string(), rule });
        }
        let averaged = |(name, state)| match state {
            State::Counter(_) => None,
            state => Some(Entry { name, state, average: None }),
        };
        Ok(Ema { decay, entries: state.into_iter().filter_map(averaged).collect() })
    }

    /// Takes in the present values; call it after each step of the optimiser.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn update(&mut self) -> Result<()> {
        let share = 1.0 - self.decay;
        self.entries.iter_mut().try_for_each(|entry| entry.update(share))
    }

    /// Takes in `updates` updates at once: those of the averages in `done`, by name, are made; all other values were the
    /// same in all of them.
    ///
    /// # Errors
    /// [`Error::Shape`] if `done` holds a name that is unknown or a shape that is not the value's; then nothing has
    /// changed.
    pub fn update_with(&mut self, updates: usize, done: Vec<(String, Tensor)>) -> Result<()> {
        let mut done: HashMap<String, Tensor> = done.into_iter().collect();
        for (name, average) in &done {
            let entry = self.entries.iter().find(|entry| entry.name == *name);
            let value = entry.and_then(|entry| value(&entry.state));
            if value.is_none_or(|value| value.shape() != average.shape()) {
                let rule = "an average must be of one of the values and have its shape";
                let got = format!("{} for {name}", average.shape());
                return Err(Error::Shape { op: "ema", rule, got });
            }
        }
        let share = 1.0 - self.decay;
        for entry in &mut self.entries {
            match done.remove(&entry.name) {
                Some(average) => entry.average = Some(average.detach()),
                None => (0..updates).try_for_each(|_| entry.update(share))?,
            }
        }
        Ok(())
    }

    /// The share of an average that is kept in an update.
    #[must_use]
    pub fn decay(&self) -> f32 {
        self.decay
    }

    /// What is averaged, by name, with its average, which is missing before the first update.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &State, Option<&Tensor>)> {
        self.entries.iter().map(|entry| (&*entry.name, &entry.state, entry.average.as_ref()))
    }

    /// Runs `body` while the model has the averages (before the first update, its own values) in place of
    /// its values: to evaluate or to save it.
    ///
    /// # Errors
    /// Never: the averages have the shapes of the values.
    pub fn with_averages<R>(&self, body: impl FnOnce() -> R) -> Result<R> {
        let mut restore = Restore(Vec::with_capacity(self.entries.len()));
        for entry in &self.entries {
            if let (Some(own), Some(average)) = (value(&entry.state), &entry.average) {
                restore.0.push((&entry.state, own));
                set(&entry.state, average)?;
            }
        }
        Ok(body())
    }

    /// The averages by name, for a checkpoint; none before the first update.
    #[must_use]
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let entries = self.entries.iter();
        entries.filter_map(|e| Some((e.name.clone(), e.average.clone()?))).collect()
    }

    /// Continues from what [`state`](Self::state) returned.
    ///
    /// # Errors
    /// [`Error::Shape`] if `state` holds some of the averages and not others, a name that is unknown or a
    /// shape that is not the value's; then nothing has changed.
    pub fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let fail = |rule, got| Err(Error::Shape { op: "ema", rule, got });
        let mut state: HashMap<String, Tensor> = state.into_iter().collect();
        let empty = state.is_empty();
        let mut averages = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let average = state.remove(&entry.name).map(|average| average.detach());
            match (&average, value(&entry.state)) {
                (Some(average), Some(value)) if average.shape() != value.shape() => {
                    let got = format!("{} for {} {}", average.shape(), entry.name, value.shape());
                    return fail("an average must have its value's shape", got);
                }
                (None, _) if !empty => {
                    return fail("there must be an average of every value", entry.name.clone());
                }
                _ => averages.push(average),
            }
        }
        if let Some(name) = state.keys().min() {
            return fail("an average must be of one of the values", name.clone());
        }
        self.entries.iter_mut().zip(averages).for_each(|(entry, average)| entry.average = average);
        Ok(())
    }
}

impl Entry {
    /// Takes in the present value.
    fn update(&mut self, share: f32) -> Result<()> {
        let Some(value) = value(&self.state) else { return Ok(()) };
        match &mut self.average {
            Some(average) => {
                elementwise::lerp(Isa::current()?, average.data_mut(), value.data(), share)?;
            }
            unset => *unset = Some(value),
        }
        Ok(())
    }
}

/// Gives the model its own values back, after a panic too.
struct Restore<'a>(Vec<(&'a State, Tensor)>);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        for (state, own) in &self.0 {
            // It came from there, so its shape fits.
            set(state, own).ok();
        }
    }
}

fn value(state: &State) -> Option<Tensor> {
    match state {
        State::Parameter(parameter) => Some(parameter.tensor()),
        State::Buffer(buffer) => Some(buffer.tensor()),
        State::Counter(_) => None,
    }
}

fn set(state: &State, value: &Tensor) -> Result<()> {
    match state {
        State::Parameter(parameter) => parameter.set(value),
        State::Buffer(buffer) => buffer.set(value),
        State::Counter(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::{Buffer, Counter, Parameter};

    struct Model {
        weight: Parameter,
        running: Buffer,
        steps: Counter,
    }

    fn tensor(value: f32) -> Tensor {
        Tensor::full([3], value).expect("small")
    }

    impl Model {
        fn new() -> Model {
            let (weight, running) = (Parameter::new(tensor(1.0)), Buffer::new(tensor(10.0)));
            Model { weight, running, steps: Counter::default() }
        }

        fn state(&self) -> Vec<(String, State)> {
            vec![
                ("weight".to_owned(), State::Parameter(self.weight.clone())),
                ("running".to_owned(), State::Buffer(self.running.clone())),
                ("steps".to_owned(), State::Counter(self.steps.clone())),
            ]
        }

        fn values(&self) -> [f32; 2] {
            [self.weight.tensor().data()[0], self.running.tensor().data()[2]]
        }

        fn set(&self, weight: f32, running: f32) {
            self.weight.update(|w| w.fill(weight));
            self.running.update(|r| r.fill(running));
            self.steps.increment();
        }
    }

    #[test]
    fn averages_follow_the_formula_and_are_there_only_inside() {
        let model = Model::new();
        let mut ema = Ema::new(model.state(), 0.75).expect("in range");
        assert_eq!(ema.with_averages(|| model.values()).expect("fits"), [1.0, 10.0], "none yet");
        ema.update().expect("same lengths");
        model.set(5.0, 30.0);
        ema.update().expect("same lengths");
        model.set(-3.0, 0.0);
        ema.update().expect("same lengths");
        // 1, then 0.75 · 1 + 0.25 · 5 = 2, then 0.75 · 2 - 0.25 · 3 = 0.75; 10, 15, 11.25.
        let seen = ema.with_averages(|| {
            let seen = model.values();
            // A training pass in between would move statistics: that must not touch the averages.
            model.running.update(|running| running.fill(99.0));
            seen
        });
        assert_eq!(seen.expect("fits"), [0.75, 11.25]);
        assert_eq!(model.values(), [-3.0, 0.0]);
        assert_eq!(ema.with_averages(|| model.values()).expect("fits"), [0.75, 11.25]);
        assert_eq!(model.steps.get(), 2);
    }

    #[test]
    fn values_come_back_after_a_panic() {
        let model = Model::new();
        let mut ema = Ema::new(model.state(), 0.5).expect("in range");
        ema.update().expect("same lengths");
        model.set(2.0, 2.0);
        let run = || ema.with_averages(|| panic!("evaluation failed"));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert!(result.is_err());
        assert_eq!(model.values(), [2.0, 2.0]);
    }

    #[test]
    fn a_resumed_run_has_the_same_averages() {
        let model = Model::new();
        let mut ema = Ema::new(model.state(), 0.9).expect("in range");
        assert!(ema.state().is_empty(), "no average before the first update");
        ema.update().expect("same lengths");
        let mut again = Ema::new(model.state(), 0.9).expect("in range");
        again.load_state(ema.state()).expect("the same model");
        for value in [2.0, 7.0] {
            model.set(value, -value);
            ema.update().expect("same lengths");
            again.update().expect("same lengths");
        }
        for ((name, a), (_, b)) in ema.state().iter().zip(&again.state()) {
            assert_eq!(a.data(), b.data(), "{name}");
        }
        again.load_state(Vec::new()).expect("that of no update");
        assert!(again.state().is_empty());
    }

    /// One value is averaged elsewhere, the other rests.
    #[test]
    fn several_updates_at_once_are_those_one_by_one() {
        let [model, other] = [Model::new(), Model::new()];
        let mut ema = Ema::new(model.state(), 0.9).expect("in range");
        let mut again = Ema::new(other.state(), 0.9).expect("in range");
        for (updates, value) in [(3, 5.0), (2, -2.0)] {
            for step in 0..updates {
                model.set(value + step as f32, value);
                ema.update().expect("same lengths");
            }
            other.set(0.0, value);
            let done = ema.state().into_iter().filter(|(name, _)| name == "weight").collect();
            again.update_with(updates, done).expect("fits");
            for ((name, a), (_, b)) in ema.state().iter().zip(&again.state()) {
                assert_eq!(a.data(), b.data(), "{name} after {updates} more");
            }
        }
        let before = again.state();
        for done in [("other", 3), ("weight", 2)] {
            let average = Tensor::zeros([done.1]).expect("small");
            let error =
                again.update_with(1, vec![(done.0.to_owned(), average)]).expect_err("not fit");
            assert!(error.to_string().contains(done.0), "{error}");
        }
        assert_eq!(again.state()[1].1.data(), before[1].1.data());
        let entries: Vec<_> = again.entries().map(|(name, _, average)| (name, average)).collect();
        assert_eq!(entries.len(), 2);
        assert!(entries.iter().all(|(_, average)| average.is_some()) && again.decay() == 0.9);
    }

    #[test]
    fn averages_of_another_model_and_decays_out_of_range_are_refused() {
        let mut ema = Ema::new(Model::new().state(), 0.9).expect("in range");
        let entry = |name: &str, len| (name.to_owned(), Tensor::zeros([len]).expect("small"));
        for (state, text) in [
            (vec![entry("weight", 3)], "every value, got running"),
            (vec![entry("weight", 3), entry("running", 2)], "(2,) for running (3,)"),
            (vec![entry("weight", 3), entry("running", 3), entry("x", 1)], "got x"),
        ] {
            let error = ema.load_state(state).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
            assert!(ema.state().is_empty());
        }
        for decay in [1.0, -0.1, f32::NAN] {
            let error = Ema::new(Vec::new(), decay).expect_err("out of range").to_string();
            assert!(error.contains("ema decay"), "{error}");
        }
    }
}
