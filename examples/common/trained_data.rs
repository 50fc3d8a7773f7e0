//! The data that a saved model goes with.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use gaternet::core::checkpoint::Checkpoint;

use crate::data::{BUILT_IN, Data};

/// CIFAR from the folder `dir`, or without one the built-in set that the model in `checkpoint` was trained
/// with. Of the training set its first `train` images only.
pub(crate) fn trained_data(checkpoint: &Path, dir: Option<&Path>, train: usize) -> Result<Data> {
    let Some(dir) = dir else { return built_in(checkpoint, train) };
    let mut data = Data::cifar(dir)?;
    let images = data.sets.train.len();
    ensure!(train <= images, "{train} images of a training set of {images}");
    data.sets.train = data.sets.train.slice(0..train)?;
    Ok(data)
}

fn built_in(checkpoint: &Path, train: usize) -> Result<Data> {
    let metadata = Checkpoint::load(checkpoint)?.metadata;
    let path = checkpoint.display();
    let entry = |key: &str| metadata.get(key).map_or("none", String::as_str);
    if entry("data") != BUILT_IN {
        bail!("{path} was trained on {}, not on the built-in set: pass --data DIR", entry("data"));
    }
    fn number<N: FromStr>(path: &Path, key: &str, text: &str) -> Result<N> {
        text.parse().ok().with_context(|| {
            format!("{}: metadata {key}: expected a number, got {text:?}", path.display())
        })
    }
    let seed = number(checkpoint, "seed", entry("seed"))?;
    let images = number(checkpoint, "test_images", entry("test_images"))?;
    Data::built_in(seed, train, images).with_context(|| format!("metadata of {path}"))
}
