//! Where images come from.

use std::sync::Arc;

use super::{Augment, Dataset, ImageFolder};
use crate::{Result, Tensor};

/// Labelled images: in memory, or in files that are read when they are needed. Clones share them.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// Images of one size.
    Memory(Arc<Dataset>),
    /// Images of any size.
    Files(Arc<ImageFolder>),
}

impl From<Arc<Dataset>> for ImageSource {
    fn from(data: Arc<Dataset>) -> ImageSource {
        ImageSource::Memory(data)
    }
}

impl From<Dataset> for ImageSource {
    fn from(data: Dataset) -> ImageSource {
        ImageSource::Memory(data.into())
    }
}

impl From<ImageFolder> for ImageSource {
    fn from(folder: ImageFolder) -> ImageSource {
        ImageSource::Files(folder.into())
    }
}

impl ImageSource {
    /// N.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels().len()
    }

    /// True if there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels().is_empty()
    }

    /// The class of every image, (N).
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        match self {
            ImageSource::Memory(data) => data.labels(),
            ImageSource::Files(folder) => folder.labels(),
        }
    }

    /// The names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match self {
            ImageSource::Memory(data) => data.classes(),
            ImageSource::Files(folder) => folder.classes(),
        }
    }

    pub(super) fn batch(
        &self,
        augment: &Augment,
        indices: &[usize],
        seed: u64,
        epoch: u64,
    ) -> Result<Tensor> {
        match self {
            ImageSource::Memory(data) => augment.batch(data, indices, seed, epoch),
            ImageSource::Files(folder) => augment.batch_of_files(folder, indices, seed, epoch),
        }
    }
}
