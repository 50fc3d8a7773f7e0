//! Sets, and how a training goes through them.

use gaternet_core::data::{ImageSource, Loader};

use super::data::Data;
use super::error::Result;
use super::evaluation::TestSet;
use super::recipe::Recipe;

pub(super) struct Images {
    train: ImageSource,
    loader: Loader,
    test: TestSet,
    size: [usize; 2],
}

impl Images {
    pub(super) fn new(data: &Data, recipe: &Recipe) -> Result<Images> {
        let size = recipe.augment.output_size(&data.train)?;
        let loader = Loader::new(data.train.clone(), recipe.loader())?;
        let test = TestSet::new(data.test.clone(), recipe.test_augment.clone());
        Ok(Images { train: data.train.clone(), loader, test, size })
    }

    /// What the loader goes through.
    pub(super) fn train(&self) -> &ImageSource {
        &self.train
    }

    pub(super) fn loader(&self) -> &Loader {
        &self.loader
    }

    pub(super) fn test(&self) -> &TestSet {
        &self.test
    }

    /// (H, W) of the images that the model is trained on, in pixels.
    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Steps of an epoch.
    pub(super) fn steps(&self) -> usize {
        self.loader.batches()
    }
}
