//! Training and test sets: CIFAR, the built-in images, or image files in folders.

use std::path::Path;

use anyhow::{Context, Result, bail};
use gaternet::core::data::{ImageFolder, ImageSource};

use crate::data::Data;

/// Name of a set of image files.
const IMAGE_FOLDER: &str = "image-folder";

/// A training and a test set, which several runs may share.
#[derive(Clone)]
pub(crate) struct Sets {
    /// `image-folder`, or as in [`Data`].
    pub(crate) name: &'static str,
    /// For training, for tests.
    pub(crate) images: [ImageSource; 2],
}

impl From<Data> for Sets {
    fn from(Data { name, sets }: Data) -> Sets {
        Sets { name, images: [sets.train.into(), sets.test.into()] }
    }
}

impl Sets {
    /// Whatever `dir` holds.
    pub(crate) fn open(dir: &Path) -> Result<Sets> {
        if !ImageFolder::is_in(dir) {
            let data = Data::cifar(dir).with_context(|| {
                let dir = dir.display();
                format!("no data set in {dir}: neither CIFAR, nor train/ and val/ of image files")
            })?;
            return Ok(data.into());
        }
        for cifar in ["cifar-10-batches-bin", "cifar-100-binary"].map(|name| dir.join(name)) {
            if cifar.exists() {
                let (dir, cifar) = (dir.display(), cifar.display());
                bail!("{dir} holds both {cifar} and train/: pass --data {cifar}, or move train/");
            }
        }
        let images = ImageFolder::train_and_test(dir)?.map(ImageSource::from);
        Ok(Sets { name: IMAGE_FOLDER, images })
    }
}
