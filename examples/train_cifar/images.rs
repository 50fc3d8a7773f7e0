//! The images of a run.

use std::sync::Arc;

use anyhow::Result;
use gaternet::core::data::{Dataset, Loader, LoaderConfig};

use crate::args_data::DataArgs;
use crate::data::Data;

/// A training and a test set, which several runs may share.
#[derive(Clone)]
pub(crate) struct Sets {
    /// As in [`Data`].
    pub(crate) name: &'static str,
    pub(crate) train: Arc<Dataset>,
    pub(crate) test: Arc<Dataset>,
}

impl Sets {
    /// The built-in sets are drawn from `seed`.
    pub(crate) fn open(args: &DataArgs, seed: u64) -> Result<Sets> {
        let Data { name, sets } = match args.built_in() {
            true => Data::built_in(seed, args.train_images, args.test_images)?,
            false => Data::cifar(args.dir())?,
        };
        Ok(Sets { name, train: sets.train.into(), test: sets.test.into() })
    }

    pub(crate) fn classes(&self) -> usize {
        self.train.classes().len()
    }
}

/// Sets, and how the training goes through them.
pub(crate) struct Images {
    loader: Loader,
    test: Arc<Dataset>,
}

impl Images {
    pub(crate) fn new(sets: &Sets, config: LoaderConfig) -> Result<Images> {
        let loader = Loader::new(Arc::clone(&sets.train), config)?;
        Ok(Images { loader, test: Arc::clone(&sets.test) })
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    pub(crate) fn test(&self) -> &Arc<Dataset> {
        &self.test
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.loader.batches()
    }
}
