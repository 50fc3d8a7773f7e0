//! The images that an example runs on: CIFAR from a folder, or the built-in set.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use gaternet::core::data::{Cifar, Dataset, synthetic};

/// A training and a test set.
pub(crate) struct Data {
    /// `synthetic`, `cifar10` or `cifar100`, as checkpoints name it.
    pub(crate) name: &'static str,
    pub(crate) train: Arc<Dataset>,
    pub(crate) test: Arc<Dataset>,
}

impl Data {
    /// Name of the built-in set.
    pub(crate) const BUILT_IN: &str = "synthetic";

    /// CIFAR-10 or CIFAR-100, whichever `dir` holds.
    pub(crate) fn cifar(dir: &Path) -> Result<Data> {
        let Cifar { train, test } = Cifar::load(dir)?;
        let name = if train.classes().len() == 100 { "cifar100" } else { "cifar10" };
        Ok(Data { name, train: Arc::new(train), test: Arc::new(test) })
    }

    /// The built-in set, drawn from `seed`.
    pub(crate) fn built_in(seed: u64, train: usize, test: usize) -> Data {
        let (train, test) = synthetic(seed, train, test);
        Data { name: Data::BUILT_IN, train: Arc::new(train), test: Arc::new(test) }
    }
}
