//! What is trained and how: the command line with its defaults settled and its values checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use gaternet::core::Error;
use gaternet::core::checkpoint::Checkpoint;
use gaternet::core::data::{Augment, LoaderConfig, Mixup, ResizedCrop};
use gaternet::core::nn::{CrossEntropyLoss, Module};
use gaternet::core::optim::{ParameterGroup, Schedule, Sgd, SgdConfig};
use gaternet::models::{
    BackboneConfig, DType, GateLoss, GatedConfig, GatedResNet, Head, Model, PlainNet, WarmUp,
};

use crate::args::Args;
use crate::args_augment::PaddingName;
use crate::args_optim::{ScheduleName, not_negative};
use crate::classes;
use crate::options::Options;
use crate::pipeline;
use crate::sets::Sets;

/// Runs of `--repeat`, at most.
const MAX_SEEDS: usize = 1000;

/// A complete, checked description of a training run; only the data is missing.
pub(crate) struct Recipe {
    /// The plain backbone, for one class.
    pub(crate) backbone: BackboneConfig,
    pub(crate) backbone_checkpoint: Option<PathBuf>,
    /// Of a whole model.
    pub(crate) checkpoint: Option<PathBuf>,
    /// Whether the output layer is not that of the file.
    new_head: bool,
    /// What is added to it; `None` for the plain backbone.
    pub(crate) gated: Option<GatedRecipe>,
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) drop_last: bool,
    schedule_name: ScheduleName,
    pub(crate) schedule: Schedule,
    weight_decay: f32,
    pub(crate) clip_grad_norm: Option<f32>,
    /// Decay of the averaged weights.
    pub(crate) ema: Option<f32>,
    pub(crate) label_smoothing: f32,
    pub(crate) criterion: CrossEntropyLoss,
    augment: Augment,
    /// What is done to test images.
    pub(crate) test_augment: Augment,
    padding_mode: PaddingName,
    pub(crate) mixup: Option<Mixup>,
    /// What convolutions multiply on a GPU.
    pub(crate) dtype: DType,
    pub(crate) seed: u64,
    /// Whether classes in another order than those of a file go by their names.
    classes_by_name: bool,
    /// How all of it was asked for.
    pub(crate) options: Options,
}

/// What a gated model has beside its backbone.
pub(crate) struct GatedRecipe {
    /// For one class.
    pub(crate) config: GatedConfig,
    pub(crate) gater_checkpoint: Option<PathBuf>,
    /// Epochs of pre-training.
    pub(crate) pretrain: usize,
    /// Highest learning rate and weight decay of the gater; those of the backbone if `None`.
    lr: Option<f64>,
    weight_decay: Option<f32>,
    pub(crate) warm_up: WarmUp,
    /// Images of a pass whose time counts.
    pub(crate) latency_batch: usize,
}

impl GatedRecipe {
    fn new(args: &Args, backbone: BackboneConfig, epochs: usize) -> Result<GatedRecipe> {
        let (gater, training) = (&args.gater, &args.gater_training);
        if let Some(lr) = training.gater_lr {
            not_negative("--gater-lr", lr)?;
        }
        if let Some(decay) = training.gater_weight_decay {
            not_negative("--gater-weight-decay", decay)?;
        }
        let recipe = GatedRecipe {
            config: GatedConfig {
                placement: gater.placement.into(),
                gate_overrides: gater.gate.clone(),
                group: gater.gate_group,
                floor: gater.floor(),
                zero_init: gater.zero_init,
                gater: gater.config(args.data.built_in()),
                estimator: args.gates.estimator()?,
                gate_losses: args.gates.losses()?,
                ..GatedConfig::new(backbone)
            },
            gater_checkpoint: training.gater_checkpoint.clone(),
            pretrain: training.pretrain_gater,
            lr: training.gater_lr,
            weight_decay: training.gater_weight_decay,
            warm_up: training.warm_up(),
            latency_batch: args.gates.latency_batch,
        };
        recipe.config.validate()?;
        recipe.warm_up.validate(epochs)?;
        Ok(recipe)
    }
}

impl Recipe {
    pub(crate) fn new(args: &Args, options: &Options) -> Result<Recipe> {
        let Args { data, optim, augment, run, .. } = args;
        let epochs = optim.epochs.unwrap_or(if data.built_in() { 5 } else { 15 });
        for (flag, count) in [
            ("--epochs", epochs),
            ("--batch-size", optim.batch_size),
            ("--train-images", data.train_images),
            ("--test-images", data.test_images),
            ("--latency-batch", args.gates.latency_batch),
            ("--repeat", run.repeat.unwrap_or(1)),
            ("--stop-after", run.stop_after.unwrap_or(1)),
        ] {
            ensure!(count > 0, "{flag} 0: must be at least 1");
        }
        let seeds = run.repeat.unwrap_or(1);
        ensure!(seeds <= MAX_SEEDS, "--repeat {seeds}: must be at most {MAX_SEEDS}");
        if let Some(norm) = optim.clip_grad_norm {
            not_negative("--clip-grad-norm", norm)?;
        }
        if let Some(decay) = optim.ema {
            let good = (0.0..1.0).contains(&decay);
            ensure!(good, "--ema {decay}: must be at least 0 and below 1");
        }
        let starts =
            args.backbone.checkpoint.is_some() || args.backbone.backbone_checkpoint.is_some();
        ensure!(
            starts || !args.backbone.new_head,
            "--new-head: there is no --checkpoint or --backbone-checkpoint whose head it replaces"
        );
        let label_smoothing = augment.label_smoothing;
        let share = (0.0..=1.0).contains(&label_smoothing);
        ensure!(share, "--label-smoothing {label_smoothing}: must be between 0 and 1");
        let backbone = args.backbone.config();
        backbone.validate()?;
        let gated = (!args.backbone.dense).then(|| GatedRecipe::new(args, backbone, epochs));
        let recipe = Recipe {
            backbone,
            backbone_checkpoint: args.backbone.backbone_checkpoint.clone(),
            checkpoint: args.backbone.checkpoint.clone(),
            new_head: args.backbone.new_head,
            gated: gated.transpose()?,
            epochs,
            batch_size: optim.batch_size,
            drop_last: optim.drop_last,
            schedule_name: optim.schedule,
            schedule: optim.schedule()?,
            weight_decay: optim.weight_decay()?,
            clip_grad_norm: optim.clip_grad_norm,
            ema: optim.ema,
            label_smoothing,
            criterion: CrossEntropyLoss::new(label_smoothing)?,
            augment: augment.augment()?,
            test_augment: augment.test_augment(),
            padding_mode: augment.padding_mode,
            mixup: augment.mixup()?,
            dtype: run.dtype.map_or(DType::Bf16, DType::from),
            seed: run.seed,
            classes_by_name: data.classes_by_name,
            options: options.clone(),
        };
        recipe.augment.check()?;
        recipe.test_augment.check()?;
        recipe.gater_lr_factor()?;
        Ok(recipe)
    }

    /// The model with fresh weights.
    pub(crate) fn model(&self, classes: usize) -> Result<Model> {
        let backbone = BackboneConfig { classes, ..self.backbone };
        Ok(match &self.gated {
            Some(gated) => {
                let config = GatedConfig { backbone, ..gated.config.clone() };
                Model::Gated(GatedResNet::new(config, self.seed)?.into())
            }
            None => Model::Plain(PlainNet::new(backbone, self.seed)?.into()),
        })
    }

    /// `sets` with the classes of the run that goes on, whose file is `begun`, or of the model
    /// that this one begins as, in the order of its outputs.
    pub(crate) fn fitted(&self, sets: &Sets, begun: Option<&Checkpoint>) -> Result<Sets> {
        let start = self.checkpoint.as_ref().or(self.backbone_checkpoint.as_ref());
        match (begun, start) {
            (Some(begun), _) => classes::fitted(sets.clone(), begun, self.classes_by_name),
            (None, Some(start)) if !self.new_head => {
                classes::fitted(sets.clone(), &Checkpoint::load(start)?, self.classes_by_name)
                    .context("a model of other classes needs --new-head")
            }
            (None, _) => {
                let rule =
                    "needs --resume, --checkpoint or --backbone-checkpoint, without --new-head";
                ensure!(!self.classes_by_name, "--classes-by-name: {rule}");
                Ok(sets.clone())
            }
        }
    }

    /// Takes over what was trained before.
    pub(crate) fn load_checkpoints(&self, model: &Model) -> Result<()> {
        let head = if self.new_head { Head::Fresh } else { Head::Same };
        let backbone = match model {
            Model::Plain(model) => model,
            Model::Gated(model) => model.backbone(),
        };
        if let Some(path) = &self.checkpoint {
            model.load_weights_with(path, head).map_err(|error| hinted(error, model))?;
        }
        if let Some(path) = &self.backbone_checkpoint {
            backbone.load_weights_with(path, head).map_err(|error| hinted(error, model))?;
        }
        let gater = self.gated.as_ref().and_then(|gated| gated.gater_checkpoint.as_ref());
        if let (Model::Gated(model), Some(path)) = (model, gater) {
            model.gater().load(path)?;
        }
        Ok(())
    }

    /// The MACs that the gates are trained for, over those of the plain network.
    pub(crate) fn target_macs(&self) -> Option<f32> {
        let terms = self.gated.iter().flat_map(|gated| &gated.config.gate_losses);
        terms.into_iter().find_map(|term| match term.loss {
            GateLoss::TargetMacs { target } => Some(target),
            _ => None,
        })
    }

    /// The time that the gates are trained for, over that of the plain network.
    pub(crate) fn target_latency(&self) -> Option<f32> {
        let terms = self.gated.iter().flat_map(|gated| &gated.config.gate_losses);
        terms.into_iter().find_map(|term| match term.loss {
            GateLoss::TargetLatency { target } => Some(target),
            _ => None,
        })
    }

    /// (H, W) of the images that the model sees.
    pub(crate) fn size(&self) -> [usize; 2] {
        pipeline::size_of(&self.augment)
    }

    pub(crate) fn loader(&self) -> LoaderConfig {
        let Recipe { batch_size, drop_last, seed, .. } = *self;
        LoaderConfig { batch_size, drop_last, shuffle: true, seed, augment: self.augment.clone() }
    }

    pub(crate) fn optimizer(&self, model: &Model) -> Result<Sgd> {
        let groups = match (model, &self.gated) {
            (Model::Gated(model), Some(recipe)) => {
                let [backbone, mut gater] = model.parameter_groups();
                gater.learning_rate_factor = self.gater_lr_factor()?;
                gater.weight_decay = recipe.weight_decay;
                vec![backbone, gater]
            }
            _ => vec![ParameterGroup::new(model.parameters())],
        };
        Ok(Sgd::with_groups(groups, self.sgd(self.weight_decay))?)
    }

    fn gater_lr_factor(&self) -> Result<f32> {
        let Some(rate) = self.gated.as_ref().and_then(|gated| gated.lr) else { return Ok(1.0) };
        let peak = self.schedule.peak;
        let factor = (rate / peak) as f32;
        // The optimiser has one learning rate, and the gater's share of it.
        ensure!(
            factor.is_finite(),
            "--gater-lr {rate} with --lr {peak}: --lr must not be so small"
        );
        Ok(factor)
    }

    /// Of the gater's classifier.
    pub(crate) fn pretraining_optimizer(&self, classifier: &Model) -> Result<Sgd> {
        let own = self.gated.as_ref().and_then(|gated| gated.weight_decay);
        let config = self.sgd(own.unwrap_or(self.weight_decay));
        Ok(Sgd::new(classifier.parameters(), config)?)
    }

    /// Of the gater's classifier.
    pub(crate) fn pretraining_schedule(&self) -> Schedule {
        let own = self.gated.as_ref().and_then(|gated| gated.lr);
        self.schedule.clone().with_peak(own.unwrap_or(self.schedule.peak))
    }

    fn sgd(&self, weight_decay: f32) -> SgdConfig {
        SgdConfig::default().with_weight_decay(weight_decay)
    }

    /// Everything that the results depend on, by name; the model adds its own configuration.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let file = |path: &PathBuf| path.display().to_string();
        let (size, resize) = match self.test_augment.resized {
            Some(ResizedCrop::Center { size, resize }) => (Some(size), Some(resize)),
            _ => (None, None),
        };
        let shifted = size.is_none();
        let entries = [
            ("backbone_checkpoint", self.backbone_checkpoint.as_ref().map(file)),
            ("batch_size", Some(self.batch_size.to_string())),
            ("clip_grad_norm", self.clip_grad_norm.map(|norm| norm.to_string())),
            ("checkpoint", self.checkpoint.as_ref().map(file)),
            ("crop_padding", shifted.then(|| self.augment.crop_padding.to_string())),
            ("cutout", Some(self.augment.cutout.to_string())),
            ("drop_last", self.drop_last.then(|| "true".to_owned())),
            ("ema", self.ema.map(|decay| decay.to_string())),
            ("epochs", Some(self.epochs.to_string())),
            ("image_size", size.map(|size| size.to_string())),
            ("label_smoothing", Some(self.label_smoothing.to_string())),
            ("learning_rate", Some(self.schedule.peak.to_string())),
            ("learning_rate_decay", Some(format!("{:?}", self.schedule.decay))),
            ("learning_rate_warmup", Some(self.schedule.warmup.to_string())),
            ("mean", Some(format!("{:?}", self.test_augment.normalize.mean))),
            ("mixup", self.mixup.map(|mixup| mixup.alpha.to_string())),
            ("new_head", self.new_head.then(|| "true".to_owned())),
            ("padding_mode", shifted.then(|| self.padding_mode.to_string())),
            ("resize", resize.map(|resize| resize.to_string())),
            ("schedule", Some(self.schedule_name.to_string())),
            ("seed", Some(self.seed.to_string())),
            ("std", Some(format!("{:?}", self.test_augment.normalize.std))),
            ("weight_decay", Some(self.weight_decay.to_string())),
        ];
        let weight_of = |gated: &GatedRecipe, is: fn(&GateLoss) -> bool| {
            let term = gated.config.gate_losses.iter().find(|term| is(&term.loss));
            term.map(|term| term.weight.to_string())
        };
        let gated = self.gated.iter().flat_map(|gated| {
            [
                ("gater_checkpoint", gated.gater_checkpoint.as_ref().map(file)),
                ("gater_learning_rate", gated.lr.map(|rate| rate.to_string())),
                ("gater_weight_decay", gated.weight_decay.map(|decay| decay.to_string())),
                ("latency_batch", self.target_latency().map(|_| gated.latency_batch.to_string())),
                ("lambda", weight_of(gated, |loss| *loss == GateLoss::L1)),
                ("pretrain_gater", Some(gated.pretrain.to_string())),
                ("target_weight", weight_of(gated, GateLoss::has_target)),
                ("warm_up", Some(format!("{:?}", gated.warm_up))),
            ]
        });
        let given = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
        entries.into_iter().chain(gated).filter_map(given).collect()
    }
}

/// `error` of a file that `model` should begin with, and what to do about another kind of model.
fn hinted(error: Error, model: &Model) -> anyhow::Error {
    let hint = match (&error, model) {
        (Error::OtherKind { wanted: "plain", .. }, Model::Gated(_)) => {
            "--backbone-checkpoint takes a plain model; --checkpoint begins with a gated one"
        }
        (Error::OtherKind { wanted: "plain", .. }, Model::Plain(_)) => {
            "a run with --dense begins with a plain model, one without it with a gated one"
        }
        (Error::OtherKind { .. }, _) => {
            "--checkpoint takes a gated model here; --backbone-checkpoint begins with a plain one"
        }
        _ => return error.into(),
    };
    anyhow!("{error}: {hint}")
}
