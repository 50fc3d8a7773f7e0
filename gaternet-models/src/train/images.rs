//! Sets, and how a training goes through them.

use gaternet_core::data::Loader;

use super::data::{Data, size_of};
use super::error::Result;
use super::evaluation::TestSet;
use super::recipe::Recipe;

pub(super) struct Images {
    loader: Loader,
    test: TestSet,
    size: [usize; 2],
}

impl Images {
    pub(super) fn new(data: &Data, recipe: &Recipe) -> Result<Images> {
        let size = size_of(&data.train, &recipe.augment);
        let loader = Loader::new(data.train.clone(), recipe.loader())?;
        let test = TestSet::new(data.test.clone(), recipe.test_augment.clone());
        Ok(Images { loader, test, size })
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
