//! What is trained and how.

mod dtype;
mod metadata;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::data::{Augment, LoaderConfig, Mixup};
use gaternet_core::nn::{CrossEntropyLoss, Module};
use gaternet_core::optim::{Decay, ParameterGroup, Schedule, Sgd, SgdConfig};
use gaternet_core::{Error as ModelError, digits};
use serde::{Deserialize, Serialize};

use super::classes;
use super::data::Data;
use super::error::Result;
use crate::{
    BackboneConfig, DType, GateLoss, GatedConfig, GatedResNet, Head, Model, PlainNet, WarmUp,
};

/// A training as data: the network, and every setting that its results depend on but the images.
/// What it says can be kept as TOML or JSON; what a file leaves out is as in [`Recipe::default`].
///
/// ```
/// use gaternet_models::train::Recipe;
///
/// let recipe: Recipe = serde_json::from_str(
///     r#"{
///         "network": { "plain": { "family": { "kind": "resnet", "depth": 20 }, "classes": 10 } },
///         "epochs": 30,
///         "ema": 0.99
///     }"#,
/// )?;
/// recipe.validate()?;
/// assert_eq!(recipe.batch_size, 128);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The network; its number of classes is that of the data.
    pub network: Architecture,
    /// A file of a plain model, with whose weights the backbone begins.
    pub backbone_checkpoint: Option<PathBuf>,
    /// A file of a whole model, with whose weights this one begins.
    pub checkpoint: Option<PathBuf>,
    /// Whether the output layer is drawn anew, and not that of `checkpoint` or
    /// `backbone_checkpoint`.
    pub new_head: bool,
    /// Whether images whose classes have another order than those of a file go by their names;
    /// without it they are an error.
    pub classes_by_name: bool,
    /// How the gater is trained, where not as the rest; nothing of it applies to a plain network.
    pub gater: GaterTraining,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// Whether the last step of an epoch is left out if fewer images are left for it.
    pub drop_last: bool,
    /// Learning rates, step by step.
    pub schedule: Schedule,
    /// L2 penalty of every parameter.
    pub weight_decay: f32,
    /// The Euclidean norm to which longer gradients of a step are scaled down.
    pub clip_grad_norm: Option<f32>,
    /// Decay of the averages of weights and statistics that are evaluated and saved; see
    /// [`Ema`](gaternet_core::optim::Ema).
    pub ema: Option<f32>,
    /// Share of the target that all classes get alike, 0 to 1.
    pub label_smoothing: f32,
    /// What is done to training images.
    pub augment: Augment,
    /// What is done to test images.
    pub test_augment: Augment,
    /// Blends training images and their labels.
    pub mixup: Option<Mixup>,
    /// What convolutions multiply on a GPU; a processor trains in f32.
    #[serde(with = "dtype")]
    pub dtype: DType,
    /// Decides weights, order, augmentation and gate noise.
    pub seed: u64,
}

/// A network to be trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// A backbone alone.
    Plain(BackboneConfig),
    /// A backbone with gates and a gater.
    Gated(GatedConfig),
}

/// How a gater is trained, where not as its backbone. By default it is trained as that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaterTraining {
    /// A file with whose gater this one begins; see [`Gater::load`](crate::Gater::load).
    pub checkpoint: Option<PathBuf>,
    /// Epochs in which its extractor is trained as a classifier first, as in the paper.
    pub pretrain: usize,
    /// Its highest learning rate.
    pub learning_rate: Option<f64>,
    /// L2 penalty of its parameters.
    pub weight_decay: Option<f32>,
    /// What rests in the first epochs.
    pub warm_up: WarmUp,
    /// Images of a pass whose time counts, in a training for a time.
    pub latency_batch: usize,
}

impl Default for GaterTraining {
    fn default() -> GaterTraining {
        GaterTraining {
            checkpoint: None,
            pretrain: 0,
            learning_rate: None,
            weight_decay: None,
            warm_up: WarmUp::default(),
            latency_batch: 64,
        }
    }
}

impl Default for Recipe {
    /// A gated ResNet-20 for CIFAR-10, as [`Recipe::gated`] has it.
    fn default() -> Recipe {
        Recipe::gated(GatedConfig::cifar(20, 10))
    }
}

impl From<&Model> for Architecture {
    fn from(model: &Model) -> Architecture {
        match model {
            Model::Plain(model) => Architecture::Plain(*model.config()),
            Model::Gated(model) => Architecture::Gated(model.config().clone()),
        }
    }
}

impl Recipe {
    /// 15 epochs of this gated network, as is usual on CIFAR: steps of 128 images, one cycle of
    /// learning rates up to 0.2, weight decay 5e-4, images shifted by up to 4 pixels and mirrored.
    #[must_use]
    pub fn gated(config: GatedConfig) -> Recipe {
        Recipe::of(Architecture::Gated(config))
    }

    /// The same of a plain network.
    #[must_use]
    pub fn plain(config: BackboneConfig) -> Recipe {
        Recipe::of(Architecture::Plain(config))
    }

    fn of(network: Architecture) -> Recipe {
        Recipe {
            network,
            backbone_checkpoint: None,
            checkpoint: None,
            new_head: false,
            classes_by_name: false,
            gater: GaterTraining::default(),
            epochs: 15,
            batch_size: 128,
            drop_last: false,
            schedule: Schedule::new(
                0.2,
                Decay::OneCycle { pct_start: 0.3, div: 25.0, final_div: 1e4 },
            ),
            weight_decay: 5e-4,
            clip_grad_norm: None,
            ema: None,
            label_smoothing: 0.0,
            augment: Augment::train(),
            test_augment: Augment::eval(),
            mixup: None,
            dtype: DType::Bf16,
            seed: 0,
        }
    }

    /// `Err` if a setting is out of range, or two of them contradict each other.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Config`], which names the setting.
    pub fn validate(&self) -> Result<()> {
        match &self.network {
            Architecture::Plain(backbone) => backbone.validate()?,
            Architecture::Gated(gated) => gated.validate()?,
        }
        self.validate_training()
    }

    /// The same of all but the network.
    pub(super) fn validate_training(&self) -> Result<()> {
        for (field, count) in [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("latency_batch", self.gater.latency_batch),
        ] {
            if count == 0 {
                return config(field, "0", "must be at least 1");
            }
        }
        let decay = Some(f64::from(self.weight_decay));
        for (field, number) in [
            ("weight_decay", decay),
            ("clip_grad_norm", self.clip_grad_norm.map(f64::from)),
            ("gater.learning_rate", self.gater.learning_rate),
            ("gater.weight_decay", self.gater.weight_decay.map(f64::from)),
        ] {
            if let Some(number) = number
                && !(number.is_finite() && number >= 0.0)
            {
                return config(field, digits(number), "must be finite and not negative");
            }
        }
        if let Some(decay) = self.ema
            && !(0.0..1.0).contains(&decay)
        {
            return config("ema", decay.to_string(), "must be at least 0 and below 1");
        }
        if self.new_head && self.start().is_none() {
            let rule = "there is no checkpoint or backbone_checkpoint whose head it replaces";
            return config("new_head", "true", rule);
        }
        self.criterion()?;
        self.schedule.validate()?;
        self.mixup.map_or(Ok(()), |mixup| mixup.validate())?;
        if let Architecture::Gated(_) = self.network {
            self.gater.warm_up.validate(self.epochs)?;
            self.gater_rate_factor()?;
        }
        self.augment.check()?;
        self.test_augment.check()?;
        Ok(())
    }

    /// The backbone, with or without gates.
    #[must_use]
    pub fn backbone(&self) -> &BackboneConfig {
        match &self.network {
            Architecture::Plain(backbone) => backbone,
            Architecture::Gated(gated) => &gated.backbone,
        }
    }

    /// The model with fresh weights, for so many classes.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Config`] if a setting of the network is out of range.
    pub fn model(&self, classes: usize) -> Result<Model> {
        let backbone = BackboneConfig { classes, ..*self.backbone() };
        Ok(match &self.network {
            Architecture::Gated(gated) => {
                let config = GatedConfig { backbone, ..gated.clone() };
                Model::Gated(GatedResNet::new(config, self.seed)?.into())
            }
            Architecture::Plain(_) => Model::Plain(PlainNet::new(backbone, self.seed)?.into()),
        })
    }

    /// The MACs that the gates are trained for, over those of the plain network.
    #[must_use]
    pub fn target_macs(&self) -> Option<f32> {
        self.gate_losses().find_map(|loss| match loss {
            GateLoss::TargetMacs { target } => Some(target),
            _ => None,
        })
    }

    /// The time that the gates are trained for, over that of the plain network.
    #[must_use]
    pub fn target_latency(&self) -> Option<f32> {
        self.gate_losses().find_map(|loss| match loss {
            GateLoss::TargetLatency { target } => Some(target),
            _ => None,
        })
    }

    fn gate_losses(&self) -> impl Iterator<Item = GateLoss> {
        let terms = match &self.network {
            Architecture::Gated(gated) => &gated.gate_losses[..],
            Architecture::Plain(_) => &[],
        };
        terms.iter().map(|term| term.loss)
    }

    /// The file of the model that this one begins as.
    fn start(&self) -> Option<&PathBuf> {
        self.checkpoint.as_ref().or(self.backbone_checkpoint.as_ref())
    }

    /// `data` with the classes of the run that goes on, whose file is `begun`, or of the model
    /// that this one begins as, in the order of its outputs.
    pub(super) fn fitted(&self, data: &Data, begun: Option<&Checkpoint>) -> Result<Data> {
        let by_name = self.classes_by_name;
        match (begun, self.start()) {
            (Some(begun), _) => classes::fitted(data, (&begun.path, &begun.metadata), by_name),
            (None, Some(start)) if !self.new_head => {
                let file = Checkpoint::open(start)?;
                let outline = file.outline();
                classes::fitted(data, (&outline.path, &outline.metadata), by_name)
            }
            (None, _) if by_name => {
                let rule = "needs a run that goes on, or a model to begin with and not new_head";
                config("classes_by_name", "true", rule)
            }
            (None, _) => Ok(data.clone()),
        }
    }

    /// Takes over what was trained before.
    pub(super) fn load_checkpoints(&self, model: &Model) -> Result<()> {
        let head = if self.new_head { Head::Fresh } else { Head::Same };
        let backbone = match model {
            Model::Plain(model) => model,
            Model::Gated(model) => model.backbone(),
        };
        if let Some(path) = &self.checkpoint {
            model.load_weights_with(path, head)?;
        }
        if let Some(path) = &self.backbone_checkpoint {
            backbone.load_weights_with(path, head)?;
        }
        if let (Model::Gated(model), Some(path)) = (model, &self.gater.checkpoint) {
            model.gater().load(path)?;
        }
        Ok(())
    }

    pub(super) fn loader(&self) -> LoaderConfig {
        let Recipe { batch_size, drop_last, seed, .. } = *self;
        LoaderConfig { batch_size, drop_last, shuffle: true, seed, augment: self.augment.clone() }
    }

    pub(super) fn criterion(&self) -> Result<CrossEntropyLoss> {
        Ok(CrossEntropyLoss::new(self.label_smoothing)?)
    }

    pub(super) fn optimizer(&self, model: &Model) -> Result<Sgd> {
        let groups = match model {
            Model::Gated(model) => {
                let [backbone, mut gater] = model.parameter_groups();
                gater.learning_rate_factor = self.gater_rate_factor()?;
                gater.weight_decay = self.gater.weight_decay;
                vec![backbone, gater]
            }
            Model::Plain(model) => vec![ParameterGroup::new(model.parameters())],
        };
        Ok(Sgd::with_groups(groups, self.sgd(self.weight_decay))?)
    }

    fn gater_rate_factor(&self) -> Result<f32> {
        let Some(rate) = self.gater.learning_rate else { return Ok(1.0) };
        let peak = self.schedule.peak;
        let factor = (rate / peak) as f32;
        if factor.is_finite() {
            return Ok(factor);
        }
        // The optimiser has one learning rate, and the gater's fraction of it.
        let rule = "the peak of the schedule must not be so small";
        config("gater.learning_rate", format!("{rate} with a peak of {peak}"), rule)
    }

    /// Of the gater's classifier.
    pub(super) fn pretraining_optimizer(&self, classifier: &Model) -> Result<Sgd> {
        let config = self.sgd(self.gater.weight_decay.unwrap_or(self.weight_decay));
        Ok(Sgd::new(classifier.parameters(), config)?)
    }

    /// Of the gater's classifier.
    pub(super) fn pretraining_schedule(&self) -> Schedule {
        let peak = self.gater.learning_rate.unwrap_or(self.schedule.peak);
        self.schedule.clone().with_peak(peak)
    }

    fn sgd(&self, weight_decay: f32) -> SgdConfig {
        SgdConfig::default().with_weight_decay(weight_decay)
    }
}

fn config<T>(field: &'static str, value: impl Into<String>, rule: &'static str) -> Result<T> {
    Err(ModelError::Config { field, value: value.into(), rule }.into())
}
