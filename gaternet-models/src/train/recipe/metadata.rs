//! A recipe as entries in the metadata of the files of a run.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::data::{Augment, Normalize, PaddingMode, ResizedCrop};

use super::{Architecture, Recipe};
use crate::{GateLoss, GatedConfig};

/// An entry that is missing where it does not apply.
type Entry = (&'static str, Option<String>);

impl Recipe {
    /// Everything that the results depend on, by name; the model adds its own configuration.
    /// Settings that came later have an entry only where they are not as they have always been, so
    /// that older runs go on.
    pub(in crate::train) fn metadata(&self) -> BTreeMap<String, String> {
        let entries = self.entries().into_iter().chain(self.augmentation());
        let gated = match &self.network {
            Architecture::Gated(config) => self.of_gater(config).to_vec(),
            Architecture::Plain(_) => Vec::new(),
        };
        let given = |(name, value): Entry| Some((name.to_owned(), value?));
        entries.chain(gated).filter_map(given).collect()
    }

    fn entries(&self) -> [Entry; 15] {
        [
            ("backbone_checkpoint", self.backbone_checkpoint.as_deref().map(file)),
            ("batch_size", Some(self.batch_size.to_string())),
            ("clip_grad_norm", self.clip_grad_norm.map(|norm| norm.to_string())),
            ("checkpoint", self.checkpoint.as_deref().map(file)),
            ("drop_last", self.drop_last.then(|| "true".to_owned())),
            ("ema", self.ema.map(|decay| decay.to_string())),
            ("epochs", Some(self.epochs.to_string())),
            ("label_smoothing", Some(self.label_smoothing.to_string())),
            ("learning_rate", Some(self.schedule.peak.to_string())),
            ("learning_rate_decay", Some(format!("{:?}", self.schedule.decay))),
            ("learning_rate_warmup", Some(self.schedule.warmup.to_string())),
            ("new_head", self.new_head.then(|| "true".to_owned())),
            ("schedule", Some(self.schedule.decay.name().to_owned())),
            ("seed", Some(self.seed.to_string())),
            ("weight_decay", Some(self.weight_decay.to_string())),
        ]
    }

    fn augmentation(&self) -> [Entry; 12] {
        let Recipe { augment, test_augment, .. } = self;
        let (size, resize) = match test_augment.resized {
            Some(ResizedCrop::Center { size, resize }) => (Some(size), Some(resize)),
            _ => (None, None),
        };
        let shifted = size.is_none();
        let padding_mode = match augment.padding_mode {
            PaddingMode::Constant => "constant",
            PaddingMode::Reflect => "reflect",
        };
        let statistics = |augment: &Augment| {
            let Normalize { mean, std } = &augment.normalize;
            format!("{mean:?} {std:?}")
        };
        let own_statistics = statistics(augment) != statistics(test_augment);
        // What only a program can ask for.
        let usual = size.map_or(Augment::train(), Augment::train_resized);
        let own_crop = augment.resized != usual.resized;
        [
            ("crop_padding", shifted.then(|| augment.crop_padding.to_string())),
            ("cutout", Some(augment.cutout.to_string())),
            ("flip", (!augment.flip).then(|| "false".to_owned())),
            ("image_size", size.map(|size| size.to_string())),
            ("mean", Some(format!("{:?}", test_augment.normalize.mean))),
            ("mixup", self.mixup.map(|mixup| mixup.alpha.to_string())),
            ("padding_mode", shifted.then(|| padding_mode.to_owned())),
            ("resize", resize.map(|resize| resize.to_string())),
            ("std", Some(format!("{:?}", test_augment.normalize.std))),
            ("test_augmentation", test_only(test_augment)),
            ("train_crop", own_crop.then(|| format!("{:?}", augment.resized))),
            ("train_statistics", own_statistics.then(|| statistics(augment))),
        ]
    }

    fn of_gater(&self, config: &GatedConfig) -> [Entry; 8] {
        let weight_of = |is: fn(&GateLoss) -> bool| {
            let term = config.gate_losses.iter().find(|term| is(&term.loss));
            term.map(|term| term.weight.to_string())
        };
        let gater = &self.gater;
        [
            ("gater_checkpoint", gater.checkpoint.as_deref().map(file)),
            ("gater_learning_rate", gater.learning_rate.map(|rate| rate.to_string())),
            ("gater_weight_decay", gater.weight_decay.map(|decay| decay.to_string())),
            ("latency_batch", self.target_latency().map(|_| gater.latency_batch.to_string())),
            ("lambda", weight_of(|loss| *loss == GateLoss::L1)),
            ("pretrain_gater", Some(gater.pretrain.to_string())),
            ("target_weight", weight_of(GateLoss::has_target)),
            ("warm_up", Some(format!("{:?}", gater.warm_up))),
        ]
    }
}

/// What a test set is usually spared.
fn test_only(augment: &Augment) -> Option<String> {
    let Augment { crop_padding, flip, cutout, .. } = *augment;
    let usual = crop_padding == 0 && !flip && cutout == 0;
    (!usual).then(|| format!("padding {crop_padding}, flip {flip}, cutout {cutout}"))
}

fn file(path: &Path) -> String {
    path.display().to_string()
}
