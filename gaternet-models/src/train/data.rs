//! The images that a run trains and is tested on.

use std::path::PathBuf;

#[cfg(feature = "cuda")]
use gaternet_core::data::Augment;
use gaternet_core::data::ImageSource;

/// A training and a test set, which several runs may share. This file and
/// [`TestSet`](super::TestSet) are all of the training that knows where images come from.
#[derive(Debug, Clone)]
pub struct Data {
    /// As files of a run name it: `cifar10`. A run goes on only with data of the same name and
    /// numbers of images.
    pub name: String,
    /// What is trained on.
    pub train: ImageSource,
    /// What every epoch is evaluated on; its classes are those of the training set.
    pub test: ImageSource,
    /// Image files that were left out of both, for `skipped.jsonl` in the folder of the run.
    pub skipped: Vec<Skipped>,
}

/// An image file that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Data {
    /// `train` and `test` are data sets in memory, folders of image files, or data sets of one's
    /// own ([`ImageSource::other`]).
    pub fn new(
        name: impl Into<String>,
        train: impl Into<ImageSource>,
        test: impl Into<ImageSource>,
    ) -> Data {
        Data { name: name.into(), train: train.into(), test: test.into(), skipped: Vec::new() }
    }
}

/// Whether a GPU can keep the images, and augment them by itself: those of memory, unless they are
/// resized.
#[cfg(feature = "cuda")]
pub(super) fn fits_on_gpu(source: &ImageSource, augment: &Augment) -> bool {
    matches!(source, ImageSource::Memory(_)) && augment.resized.is_none()
}
