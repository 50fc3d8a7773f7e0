//! The images that an example runs on: CIFAR from a folder, or the built-in set.

use std::path::Path;

use anyhow::{Result, ensure};
use gaternet::core::data::{Cifar, synthetic};

/// Name of the built-in set.
pub(crate) const BUILT_IN: &str = "synthetic";

/// Images of the built-in training or test set, at most: 3 GB.
const MAX_IMAGES: usize = 1_000_000;

/// A training and a test set.
pub(crate) struct Data {
    /// `synthetic`, `cifar10` or `cifar100`, as checkpoints name it.
    pub(crate) name: &'static str,
    pub(crate) sets: Cifar,
}

impl Data {
    /// CIFAR-10 or CIFAR-100, whichever `dir` holds.
    pub(crate) fn cifar(dir: &Path) -> Result<Data> {
        let sets = Cifar::load(dir)?;
        let name = if sets.train.classes().len() == 100 { "cifar100" } else { "cifar10" };
        Ok(Data { name, sets })
    }

    /// The built-in set, drawn from `seed`.
    pub(crate) fn built_in(seed: u64, train: usize, test: usize) -> Result<Data> {
        for (set, images) in [("train-images", train), ("test-images", test)] {
            ensure!(images <= MAX_IMAGES, "{set} = {images}: must be at most {MAX_IMAGES}");
        }
        let (train, test) = synthetic(seed, train, test);
        Ok(Data { name: BUILT_IN, sets: Cifar { train, test } })
    }
}
