//! Averages of a model over its training.

use std::collections::HashMap;

use gaternet_kernels::cpu::ema;

use crate::error::{Error, Result};
use crate::nn::State;
use crate::tensor::Tensor;

/// Exponential moving averages of a model's parameters and buffers, which are updated after each
/// step: `average = d(n) · average + (1 - d(n)) · value`. Counters are not averaged.
///
/// The decay warms up: `d(n) = min(decay, (1 + n) / (10 + n))` after `n` updates, as that of
/// TensorFlow's `ExponentialMovingAverage` with `num_updates`; the first update (n = 0) copies. So
/// most of an average is of the last fifth of the steps so far, however close to 1 the decay is,
/// and not of the weights that the training began with.
///
/// The averages often generalise better than the last weights, above all with a high learning rate
/// or noisy gates. Usual decays are 0.99 to 0.9999: `1 / (1 - decay)` steps enter once it has
/// warmed up, which takes `9 / (1 - decay)` steps.
#[derive(Debug)]
pub struct Ema {
    decay: f32,
    /// Updates made.
    updates: usize,
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
        Ok(Ema { decay, updates: 0, entries: state.into_iter().filter_map(averaged).collect() })
    }

    /// Takes in the present values; call it after each step of the optimiser.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn update(&mut self) -> Result<()> {
        let fraction = self.fraction(self.updates);
        self.entries.iter_mut().try_for_each(|entry| entry.update(fraction))?;
        self.updates += 1;
        Ok(())
    }

    /// Takes in `updates` updates at once: those of the averages in `done`, by name, are made; all
    /// other values were the same in all of them.
    ///
    /// # Errors
    /// [`Error::Shape`] if `done` holds a name that is unknown or a shape that is not the value's;
    /// then nothing has changed.
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
        let numbers = self.updates..self.updates + updates;
        let fractions: Vec<f32> = numbers.map(|update| self.fraction(update)).collect();
        for entry in &mut self.entries {
            match done.remove(&entry.name) {
                Some(average) => entry.average = Some(average.detach()),
                None => fractions.iter().try_for_each(|&fraction| entry.update(fraction))?,
            }
        }
        self.updates += updates;
        Ok(())
    }

    /// The fraction of an average that is kept in an update, once it has warmed up.
    #[must_use]
    pub fn decay(&self) -> f32 {
        self.decay
    }

    /// Updates made: what the decay of the next one depends on.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// The fraction that the values have in update `update`, counted from 0: 1 in the first, then
    /// `1 - min(decay, (1 + update) / (10 + update))`.
    #[must_use]
    pub fn fraction(&self, update: usize) -> f32 {
        match update {
            0 => 1.0,
            // 1 - (1 + n) / (10 + n) without the loss of digits.
            update => (1.0 - self.decay).max((9.0 / (10.0 + update as f64)) as f32),
        }
    }

    /// What is averaged, by name, with its average, which is missing before the first update.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &State, Option<&Tensor>)> {
        self.entries.iter().map(|entry| (&*entry.name, &entry.state, entry.average.as_ref()))
    }

    /// Runs `body` while the model has the averages (before the first update, its own values) in
    /// place of its values: to evaluate or to save it.
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

    /// The averages by name, for a checkpoint, beside which [`updates`](Self::updates) belongs;
    /// none before the first update.
    #[must_use]
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let entries = self.entries.iter();
        entries.filter_map(|e| Some((e.name.clone(), e.average.clone()?))).collect()
    }

    /// Continues from what [`state`](Self::state) and [`updates`](Self::updates) returned.
    ///
    /// # Errors
    /// [`Error::Shape`] if `state` holds some of the averages and not others, a name that is
    /// unknown or a shape that is not the value's, or there are averages without updates or updates
    /// without averages; then nothing has changed.
    pub fn load_state(&mut self, state: Vec<(String, Tensor)>, updates: usize) -> Result<()> {
        let fail = |rule, got| Err(Error::Shape { op: "ema", rule, got });
        if state.is_empty() != (updates == 0) && !self.entries.is_empty() {
            let rule = "there must be averages if and only if there were updates";
            return fail(rule, format!("{} averages after {updates} updates", state.len()));
        }
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
        self.updates = updates;
        Ok(())
    }
}

impl Entry {
    /// Takes in the present value.
    fn update(&mut self, fraction: f32) -> Result<()> {
        let Some(value) = value(&self.state) else { return Ok(()) };
        match &mut self.average {
            Some(average) => {
                ema::update(value.isa()?, average.data_mut(), value.data(), fraction)?;
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
    fn averages_are_there_only_inside() {
        let model = Model::new();
        // Below 2 / 11, so that it is that of every update.
        let mut ema = Ema::new(model.state(), 0.125).expect("in range");
        assert_eq!(ema.with_averages(|| model.values()).expect("fits"), [1.0, 10.0], "none yet");
        ema.update().expect("same lengths");
        model.set(5.0, 30.0);
        ema.update().expect("same lengths");
        model.set(-3.0, 0.0);
        ema.update().expect("same lengths");
        // 1, then 1 / 8 + 5 · 7 / 8 = 4.5, then 4.5 / 8 - 3 · 7 / 8; 10, 27.5, 27.5 / 8.
        let seen = ema.with_averages(|| {
            let seen = model.values();
            // A training pass in between would move statistics: that must not touch the averages.
            model.running.update(|running| running.fill(99.0));
            seen
        });
        assert_eq!(seen.expect("fits"), [-2.0625, 3.4375]);
        assert_eq!(model.values(), [-3.0, 0.0]);
        assert_eq!(ema.with_averages(|| model.values()).expect("fits"), [-2.0625, 3.4375]);
        assert_eq!(model.steps.get(), 2);
    }

    /// Against the formula in f64, as it is written in the documentation.
    #[test]
    fn the_decay_warms_up() {
        for decay in [0.0, 0.125, 0.5, 0.9, 0.99, 0.9999] {
            let model = Model::new();
            let mut ema = Ema::new(model.state(), decay).expect("in range");
            let mut want = [0.0_f64; 2];
            for n in 0..300_u32 {
                let value = [f64::from(n % 7) - 3.0, f64::from(n % 5) * 0.5];
                model.set(value[0] as f32, value[1] as f32);
                ema.update().expect("same lengths");
                let warm = f64::from(1 + n) / f64::from(10 + n);
                let kept = if n == 0 { 0.0 } else { f64::from(decay).min(warm) };
                for (want, value) in want.iter_mut().zip(value) {
                    *want = kept * *want + (1.0 - kept) * value;
                }
                let got = ema.with_averages(|| model.values()).expect("fits");
                for (got, want) in got.iter().zip(want) {
                    let far = (f64::from(*got) - want).abs();
                    assert!(far < 2e-6, "decay {decay}, update {n}: {got}, in f64 {want}");
                }
            }
            assert_eq!(ema.updates(), 300);
            assert_eq!(ema.fraction(90_000), 1.0 - decay, "{decay} has warmed up");
        }
    }

    /// Six epochs of eight steps that come close to their end: so do the averages, whatever the
    /// decay.
    #[test]
    fn averages_of_a_short_training_are_near_its_weights() {
        for decay in [0.99, 0.999, 0.9999] {
            let model = Model::new();
            let mut ema = Ema::new(model.state(), decay).expect("in range");
            for step in 0..6 * 8 {
                let value = 1.0 - 0.85_f32.powi(step);
                model.set(value, 10.0 * value);
                ema.update().expect("same lengths");
            }
            let [weight, running] = ema.with_averages(|| model.values()).expect("fits");
            let [at, end] = model.values();
            // Without warming up, 0.02 to 0.4 and a tenth of that.
            assert!((weight - at).abs() < 0.05, "decay {decay}: {weight} for {at}");
            assert!((running - end).abs() < 0.5, "decay {decay}: {running} for {end}");
        }
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
        for _ in 0..4 {
            ema.update().expect("same lengths");
        }
        let mut again = Ema::new(model.state(), 0.9).expect("in range");
        again.load_state(ema.state(), ema.updates()).expect("the same model");
        for value in [2.0, 7.0] {
            model.set(value, -value);
            ema.update().expect("same lengths");
            again.update().expect("same lengths");
        }
        for ((name, a), (_, b)) in ema.state().iter().zip(&again.state()) {
            assert_eq!(a.data(), b.data(), "{name}");
        }
        assert_eq!(again.updates(), 6);
        again.load_state(Vec::new(), 0).expect("that of no update");
        assert!(again.state().is_empty() && again.updates() == 0);
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
            assert_eq!(again.updates(), ema.updates());
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
            let error = ema.load_state(state, 1).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
            assert!(ema.state().is_empty() && ema.updates() == 0);
        }
        let both = vec![entry("weight", 3), entry("running", 3)];
        for (state, updates, text) in
            [(both, 0, "2 averages after 0 updates"), (Vec::new(), 3, "0 averages after 3 updates")]
        {
            let error = ema.load_state(state, updates).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
            assert!(ema.state().is_empty() && ema.updates() == 0);
        }
        for decay in [1.0, -0.1, f32::NAN] {
            let error = Ema::new(Vec::new(), decay).expect_err("out of range").to_string();
            assert!(error.contains("ema decay"), "{error}");
        }
    }
}
