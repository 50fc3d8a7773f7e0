//! What models and layers have in common: named state.

use crate::parameter::{Buffer, Counter, Parameter};

/// One entry of a model's state; clones share it.
#[derive(Debug, Clone)]
pub enum State {
    /// Trained.
    Parameter(Parameter),
    /// Kept, not trained.
    Buffer(Buffer),
    /// A kept number.
    Counter(Counter),
}

/// Something with named state.
pub trait Module {
    /// Appends every entry, named `prefix.name` (or `name` if the prefix is empty), in the order of
    /// PyTorch's `state_dict`.
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>);

    /// Every entry.
    fn state(&self) -> Vec<(String, State)> {
        let mut state = Vec::new();
        self.collect("", &mut state);
        state
    }

    /// The entries that are trained.
    fn parameters(&self) -> Vec<(String, Parameter)> {
        let trained = |(name, state)| match state {
            State::Parameter(parameter) => Some((name, parameter)),
            State::Buffer(_) | State::Counter(_) => None,
        };
        self.state().into_iter().filter_map(trained).collect()
    }

    /// Number of trained values.
    fn parameter_count(&self) -> usize {
        let count =
            |(_, parameter): &(_, Parameter)| parameter.shape().dims().iter().product::<usize>();
        self.parameters().iter().map(count).sum()
    }
}

/// `prefix.name`, or `name` if the prefix is empty.
#[must_use]
pub fn scoped(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
