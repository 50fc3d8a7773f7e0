//! What is trained and how: the command line with its defaults settled and its values checked.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use gaternet::core::data::{Augment, LoaderConfig, PaddingMode};
use gaternet::core::nn::CrossEntropyLoss;
use gaternet::core::optim::{Decay, Schedule, SgdConfig};
use gaternet::models::{BackboneConfig, GatedConfig, GatedResNet, GaterConfig, Model, PlainNet};

use crate::args::{Args, PaddingName, ScheduleName};

/// A complete, checked description of a training run; only the data is missing.
pub(crate) struct Recipe {
    /// The plain backbone, for one class.
    pub(crate) backbone: BackboneConfig,
    /// The gated model, for one class; `None` for the plain backbone.
    pub(crate) gated: Option<GatedConfig>,
    pub(crate) lambda: f32,
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) schedule_name: ScheduleName,
    pub(crate) schedule: Schedule,
    pub(crate) weight_decay: f32,
    pub(crate) label_smoothing: f32,
    pub(crate) criterion: CrossEntropyLoss,
    pub(crate) crop_padding: usize,
    pub(crate) padding_mode: PaddingName,
    pub(crate) seed: u64,
}

impl Recipe {
    pub(crate) fn new(args: &Args) -> Result<Recipe> {
        let counts = [
            ("--epochs", args.epochs),
            ("--batch-size", Some(args.batch_size)),
            ("--train-images", Some(args.train_images)),
            ("--test-images", Some(args.test_images)),
        ];
        for (flag, count) in counts {
            ensure!(count != Some(0), "{flag} 0: must be at least 1");
        }
        let schedule_name = args.schedule;
        let default_lr = if schedule_name == ScheduleName::OneCycle { 0.2 } else { 0.1 };
        let default_decay = if schedule_name == ScheduleName::Step { 1e-4 } else { 5e-4 };
        let (default_epochs, default_bias) =
            if args.uses_built_in() { (5, 0.0) } else { (15, 2.0) };
        let lr = args.lr.unwrap_or(default_lr);
        let weight_decay = args.weight_decay.unwrap_or(default_decay);
        let numbers = [
            ("--lambda", f64::from(args.lambda)),
            ("--lr", lr),
            ("--weight-decay", f64::from(weight_decay)),
        ];
        for (flag, number) in numbers {
            let good = number.is_finite() && number >= 0.0;
            ensure!(good, "{flag} {number}: must be finite and not negative");
        }
        let smoothing = args.label_smoothing;
        let share = (0.0..=1.0).contains(&smoothing);
        ensure!(share, "--label-smoothing {smoothing}: must be between 0 and 1");
        let squeeze_excitation = args.se.then_some(16);
        let backbone =
            BackboneConfig { width: args.width, squeeze_excitation, ..args.model.config(1) };
        let recipe = Recipe {
            backbone,
            gated: (!args.dense).then(|| GatedConfig {
                placement: args.placement.into(),
                gater: GaterConfig {
                    depth: args.gater_depth,
                    width: args.gater_width,
                    pool: args.gater_pool,
                    bottleneck: args.bottleneck,
                    gate_bias: args.gate_bias.unwrap_or(default_bias),
                },
                ..GatedConfig::new(backbone)
            }),
            lambda: args.lambda,
            epochs: args.epochs.unwrap_or(default_epochs),
            batch_size: args.batch_size,
            schedule_name,
            schedule: schedule(schedule_name, lr),
            weight_decay,
            label_smoothing: smoothing,
            criterion: CrossEntropyLoss::new(smoothing)?,
            crop_padding: args.crop_padding,
            padding_mode: args.padding_mode,
            seed: args.seed,
        };
        recipe.schedule.validate()?;
        recipe.backbone.validate()?;
        if let Some(gated) = recipe.gated {
            gated.validate()?;
        }
        Ok(recipe)
    }

    /// The model with fresh weights.
    pub(crate) fn model(&self, classes: usize) -> Result<Model> {
        let backbone = BackboneConfig { classes, ..self.backbone };
        Ok(match self.gated {
            Some(gated) => {
                let config = GatedConfig { backbone, ..gated };
                Model::Gated(GatedResNet::new(config, self.seed)?.into())
            }
            None => Model::Plain(PlainNet::new(backbone, self.seed)?.into()),
        })
    }

    pub(crate) fn loader(&self) -> LoaderConfig {
        let (batch_size, seed) = (self.batch_size, self.seed);
        let padding_mode = match self.padding_mode {
            PaddingName::Constant => PaddingMode::Constant,
            PaddingName::Reflect => PaddingMode::Reflect,
        };
        let augment = Augment { crop_padding: self.crop_padding, padding_mode, ..Augment::train() };
        LoaderConfig { batch_size, shuffle: true, seed, augment }
    }

    pub(crate) fn sgd(&self) -> SgdConfig {
        SgdConfig { weight_decay: self.weight_decay, ..SgdConfig::default() }
    }

    /// For the checkpoint: what its numbers came from. The model adds its own configuration.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let mut entries = vec![
            ("batch_size", self.batch_size.to_string()),
            ("crop_padding", self.crop_padding.to_string()),
            ("epochs", self.epochs.to_string()),
            ("label_smoothing", self.label_smoothing.to_string()),
            ("padding_mode", self.padding_mode.to_string()),
            ("learning_rate", self.schedule.peak.to_string()),
            ("schedule", self.schedule_name.to_string()),
            ("seed", self.seed.to_string()),
            ("weight_decay", self.weight_decay.to_string()),
        ];
        if self.gated.is_some() {
            entries.push(("lambda", self.lambda.to_string()));
        }
        entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn schedule(name: ScheduleName, peak: f64) -> Schedule {
    let (warmup, decay) = match name {
        ScheduleName::Step => (0.0, Decay::Step { milestones: vec![0.5, 0.75], gamma: 0.1 }),
        ScheduleName::Cosine => (0.05, Decay::Cosine { last: 0.0 }),
        ScheduleName::OneCycle => {
            (0.0, Decay::OneCycle { pct_start: 0.3, div: 25.0, final_div: 1e4 })
        }
    };
    Schedule { peak, warmup, decay }
}
