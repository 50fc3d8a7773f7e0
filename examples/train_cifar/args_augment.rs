//! What is done to training images and labels.

use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use gaternet::cli::command_line::write_value;
use gaternet::core::data::{Augment, Cifar, Mixup, PaddingMode, ResizedCrop};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Augmentation")]
pub(crate) struct AugmentArgs {
    /// Train on random parts of the images, resized to this many pixels, and test on their middle,
    /// as is usual on ImageNet [default: none, images have to be 32x32 and are shifted]
    #[arg(long, value_name = "PIXELS", conflicts_with_all = SHIFTS, verbatim_doc_comment)]
    pub(crate) image_size: Option<usize>,

    /// Pixels of the shorter side of a test image before its middle is cut out
    /// [default: 8/7 of --image-size]
    #[arg(long, value_name = "PIXELS", requires = "image_size", verbatim_doc_comment)]
    pub(crate) resize: Option<usize>,

    /// Training images are shifted by up to this many pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 4)]
    pub(crate) crop_padding: usize,

    /// What comes in from the border of a shifted image
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) padding_mode: PaddingName,

    /// A square of this side is cut out of every training image: 16 is usual on CIFAR-10, 0 for
    /// none
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    pub(crate) cutout: usize,

    /// Training images and their labels are blended in pairs, with fractions from Beta(ALPHA,
    /// ALPHA): 0 not at all, 0.2 to 1 is usual. train_accuracy then counts the fraction of the
    /// class that is named
    #[arg(long, value_name = "ALPHA", default_value_t = 0.0, verbatim_doc_comment)]
    pub(crate) mixup: f32,

    /// Share of the target that all classes get alike, 0 to 1: 0.1 is usual
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    pub(crate) label_smoothing: f32,
}

/// Options of images that are not resized.
const SHIFTS: [&str; 2] = ["crop_padding", "padding_mode"];

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
        write_value(self, f)
    }
}

impl AugmentArgs {
    pub(crate) fn augment(&self) -> Result<Augment> {
        let (cutout, side) = (self.cutout, self.image_size.unwrap_or(Cifar::SIZE[0]));
        ensure!(cutout <= side, "--cutout {cutout}: must be at most {side}");
        if let Some(size) = self.image_size {
            return Ok(Augment { cutout, ..Augment::train_resized(size) });
        }
        let padding_mode = match self.padding_mode {
            PaddingName::Constant => PaddingMode::Constant,
            PaddingName::Reflect => PaddingMode::Reflect,
        };
        let crop_padding = self.crop_padding;
        Ok(Augment { crop_padding, padding_mode, cutout, ..Augment::train() })
    }

    pub(crate) fn test_augment(&self) -> Augment {
        let Some(size) = self.image_size else { return Augment::eval() };
        let augment = Augment::eval_resized(size);
        let resized = self.resize.map(|resize| ResizedCrop::Center { size, resize });
        Augment { resized: resized.or(augment.resized), ..augment }
    }

    pub(crate) fn mixup(&self) -> Result<Option<Mixup>> {
        let mixup = Mixup { alpha: self.mixup };
        mixup.validate()?;
        Ok((self.mixup > 0.0).then_some(mixup))
    }
}
