//! What is done to training images and labels.

use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use gaternet::core::data::{Augment, Mixup, PaddingMode, SIDE};

use crate::names::name_of;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Augmentation")]
pub(crate) struct AugmentArgs {
    /// Training images are shifted by up to this many pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 4)]
    pub(crate) crop_padding: usize,

    /// What comes in from the border of a shifted image
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) padding_mode: PaddingName,

    /// A square of this side is cut out of every training image, 0 to 32: 16 is usual
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    pub(crate) cutout: usize,

    /// Training images and their labels are blended in pairs, with shares from Beta(ALPHA, ALPHA): 0 not at
    /// all, 0.2 to 1 is usual. train_accuracy then counts the share of the class that is named
    #[arg(long, value_name = "ALPHA", default_value_t = 0.0, verbatim_doc_comment)]
    pub(crate) mixup: f32,

    /// Share of the target that all classes get alike, 0 to 1: 0.1 is usual
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) label_smoothing: f32,
}

/// What lies beyond the border of an image.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PaddingName {
    /// Black
    Constant,
    /// The image itself, mirrored
    Reflect,
}

impl fmt::Display for PaddingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_of(self, f)
    }
}

impl AugmentArgs {
    pub(crate) fn augment(&self) -> Result<Augment> {
        ensure!(self.cutout <= SIDE, "--cutout {}: must be at most {SIDE}", self.cutout);
        let padding_mode = match self.padding_mode {
            PaddingName::Constant => PaddingMode::Constant,
            PaddingName::Reflect => PaddingMode::Reflect,
        };
        let (crop_padding, cutout) = (self.crop_padding, self.cutout);
        Ok(Augment { crop_padding, padding_mode, cutout, ..Augment::train() })
    }

    pub(crate) fn mixup(&self) -> Result<Option<Mixup>> {
        let mixup = Mixup { alpha: self.mixup };
        mixup.validate()?;
        Ok((self.mixup > 0.0).then_some(mixup))
    }
}
