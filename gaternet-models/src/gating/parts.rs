//! The parts of a gated network, each of which can be trained in its own way: learning rates,
//! weight decay, frozen epochs.

use gaternet_core::nn::Module;
use gaternet_core::optim::ParameterGroup;
use gaternet_core::{Error, Parameter, Result};
use serde::{Deserialize, Serialize};

use crate::gating::gated_net::GatedNet;
use crate::gating::gater;

/// A part of a [`GatedNet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The network that is gated.
    Backbone,
    /// The whole gater.
    Gater,
    /// The gater's feature extractor E, without the layers from features to gates.
    Extractor,
}

impl Part {
    fn has(self, name: &str) -> bool {
        match self {
            Part::Backbone => name.starts_with("backbone."),
            Part::Gater => name.starts_with("gater."),
            Part::Extractor => name.strip_prefix("gater.").is_some_and(gater::is_extractor),
        }
    }
}

impl GatedNet {
    /// The parameters of a part, with their names in the whole model.
    #[must_use]
    pub fn part(&self, part: Part) -> Vec<(String, Parameter)> {
        let mut parameters = self.parameters();
        parameters.retain(|(name, _)| part.has(name));
        parameters
    }

    /// Backbone and gater as groups for
    /// [`Sgd::with_groups`](gaternet_core::optim::Sgd::with_groups), which have the settings of the
    /// optimiser until they are given their own.
    #[must_use]
    pub fn parameter_groups(&self) -> [ParameterGroup; 2] {
        [Part::Backbone, Part::Gater].map(|part| ParameterGroup::new(self.part(part)))
    }
}

/// What is frozen in the first epochs of a gated network's training; nothing by default.
///
/// ```
/// # use gaternet_models::{GatedConfig, GatedNet, Part, WarmUp};
/// # let model = GatedNet::new(GatedConfig::cifar(8, 10), 0)?;
/// // The backbone learns alone for 2 epochs; the gater's extractor, which was pretrained, joins
/// // in the sixth.
/// let warm_up = WarmUp { open_epochs: 2, frozen_extractor: 5, ..WarmUp::default() };
/// warm_up.validate(20)?;
/// for epoch in 1..=20 {
///     warm_up.begin(&model, epoch);
///     if warm_up.gates_open(epoch) {
///         // train model.backbone()
///     } else {
///         // train model
///     }
/// }
/// # Ok::<(), gaternet_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmUp {
    /// Number of epochs with all gates open: the gater does not run, and the backbone trains as a
    /// plain network.
    #[serde(alias = "open")]
    pub open_epochs: usize,
    /// Number of epochs in which the backbone is frozen: usual if it was trained before it got
    /// gates.
    pub frozen_backbone: usize,
    /// Number of epochs in which the gater is frozen.
    pub frozen_gater: usize,
    /// Number of epochs in which the gater's extractor is frozen.
    pub frozen_extractor: usize,
}

impl WarmUp {
    /// Checks that a training of `epochs` epochs can begin like this.
    ///
    /// # Errors
    /// [`Error::Config`] if the gates stay open to the end, an epoch number is beyond it, or in
    /// some epoch nothing would be trained.
    pub fn validate(&self, epochs: usize) -> Result<()> {
        let fail = |field, value: usize, rule| {
            let value = format!("{value}, of {epochs} epochs");
            Err(Error::Config { field, value, rule })
        };
        if self.open_epochs > 0 && self.open_epochs >= epochs {
            return fail(
                "open_epochs",
                self.open_epochs,
                "the gates must have an epoch to learn in",
            );
        }
        for (field, frozen) in [
            ("frozen_backbone", self.frozen_backbone),
            ("frozen_gater", self.frozen_gater),
            ("frozen_extractor", self.frozen_extractor),
        ] {
            if frozen > epochs {
                return fail(field, frozen, "must not be more than the epochs");
            }
        }
        if self.frozen_backbone > 0 && self.open_epochs.max(self.frozen_gater) > 0 {
            let rule = "backbone and gater must not rest in one epoch";
            return fail("frozen_backbone", self.frozen_backbone, rule);
        }
        Ok(())
    }

    /// Whether all gates are open in epoch `epoch`, from 1: then train [`GatedNet::backbone`]
    /// alone.
    #[must_use]
    pub fn gates_open(&self, epoch: usize) -> bool {
        epoch <= self.open_epochs
    }

    /// The (step, steps) of the part of a training in which gates run, for [`Ctx::with_progress`]:
    /// what changes during training, as temperatures and bounds of gates do, begins with the first
    /// epoch that has gates. `step` is from 0, and `steps_per_epoch` make up an epoch of `epochs`.
    ///
    /// [`Ctx::with_progress`]: gaternet_core::Ctx::with_progress
    #[must_use]
    pub fn gated_steps(
        &self,
        step: usize,
        steps_per_epoch: usize,
        epochs: usize,
    ) -> (usize, usize) {
        let of = |epochs: usize| epochs.saturating_mul(steps_per_epoch);
        (step.saturating_sub(of(self.open_epochs)), of(epochs.saturating_sub(self.open_epochs)))
    }

    /// Freezes what is to be frozen in epoch `epoch`, from 1, and unfreezes everything else.
    pub fn begin(&self, model: &GatedNet, epoch: usize) {
        for (part, rest) in [
            (Part::Backbone, self.frozen_backbone),
            (Part::Gater, self.open_epochs.max(self.frozen_gater)),
            // The extractor is a part of the gater, so it comes last.
            (Part::Extractor, self.open_epochs.max(self.frozen_gater).max(self.frozen_extractor)),
        ] {
            model.part(part).iter().for_each(|(_, p)| p.set_requires_grad(epoch > rest));
        }
    }
}
