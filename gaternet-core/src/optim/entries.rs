//! What all optimisers have in common: parameters in groups, and some state for each.

use super::ParameterGroup;
use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::parameter::Parameter;
use crate::tensor::Tensor;

/// Parameters in groups, each with a state `S` after the first step that moved it.
#[derive(Debug)]
pub(super) struct Entries<S> {
    groups: Vec<ParameterGroup>,
    /// In the order of the groups and of the parameters in each.
    states: Vec<Option<S>>,
}

/// One parameter.
#[derive(Debug)]
pub(super) struct Entry<'a, S> {
    pub(super) group: &'a ParameterGroup,
    pub(super) name: &'a str,
    pub(super) parameter: &'a Parameter,
    /// `None` before the first step.
    pub(super) state: Option<&'a S>,
}

impl<S> Entries<S> {
    /// # Errors
    /// [`Error::Config`] if a setting of a group is out of range or two parameters have one name.
    pub(super) fn new(groups: Vec<ParameterGroup>) -> Result<Entries<S>> {
        groups.iter().try_for_each(ParameterGroup::validate)?;
        let parameters = groups.iter().flat_map(|group| &group.parameters);
        let mut names: Vec<&str> = parameters.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Config {
                field: "parameters",
                value: pair[0].to_owned(),
                rule: "each name must occur once",
            });
        }
        let states = names.iter().map(|_| None).collect();
        Ok(Entries { groups, states })
    }

    pub(super) fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_, S>> {
        let parameters = parameters(&self.groups).zip(&self.states);
        parameters.map(|((group, name, parameter), state)| Entry {
            group,
            name,
            parameter,
            state: state.as_ref(),
        })
    }

    /// Calls `step` for every parameter that is trained, with its gradient.
    ///
    /// # Errors
    /// [`Error::MissingGradient`], naming the parameter, if one has none, before the first call.
    pub(super) fn step(
        &mut self,
        gradients: &Gradients,
        mut step: impl FnMut(&ParameterGroup, &Parameter, &mut Option<S>, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut trained = Vec::with_capacity(self.states.len());
        for ((group, name, parameter), state) in parameters(&self.groups).zip(&mut self.states) {
            if !parameter.requires_grad() {
                continue;
            }
            let gradient = gradients.get(parameter).map_err(|_| Error::MissingGradient {
                what: format!("parameter `{name}`"),
                rule: "the loss was not computed from it",
            })?;
            trained.push((group, parameter, state, gradient));
        }
        for (group, parameter, state, gradient) in trained {
            step(group, parameter, state, gradient)?;
        }
        Ok(())
    }

    /// Replaces the states by `states`, one for each parameter in the order of
    /// [`iter`](Self::iter).
    pub(super) fn set_states(&mut self, states: Vec<Option<S>>) {
        debug_assert_eq!(states.len(), self.states.len(), "one for each parameter");
        self.states = states;
    }
}

fn parameters(
    groups: &[ParameterGroup],
) -> impl Iterator<Item = (&ParameterGroup, &str, &Parameter)> {
    groups.iter().flat_map(|group| {
        let parameters = group.parameters.iter();
        parameters.map(move |(name, parameter)| (group, name.as_str(), parameter))
    })
}
