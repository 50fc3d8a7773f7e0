//! The images of a run.

use anyhow::Result;
use gaternet::core::data::{ImageSource, Loader};

use crate::args_data::DataArgs;
use crate::evaluation::TestSet;
use crate::recipe::Recipe;
use crate::sets::Sets;

/// The sets of a run; the built-in ones are drawn from `seed`.
pub(crate) fn open(args: &DataArgs, seed: u64) -> Result<Sets> {
    match args.built_in() {
        true => Sets::built_in(seed, args.train_images, args.test_images),
        false => Sets::open(args.dir()),
    }
}

/// Sets, and how the training goes through them.
pub(crate) struct Images {
    train: ImageSource,
    loader: Loader,
    test: TestSet,
}

impl Images {
    pub(crate) fn new(sets: &Sets, recipe: &Recipe) -> Result<Images> {
        let [train, test] = sets.images.clone();
        let loader = Loader::new(train.clone(), recipe.loader())?;
        let test = TestSet::new(test, recipe.test_augment.clone());
        Ok(Images { train, loader, test })
    }

    /// What the loader goes through.
    #[cfg(feature = "cuda")]
    pub(crate) fn train(&self) -> &ImageSource {
        &self.train
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    pub(crate) fn test(&self) -> &TestSet {
        &self.test
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.loader.batches()
    }
}
