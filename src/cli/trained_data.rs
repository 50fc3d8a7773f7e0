//! The data that a saved model goes with.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use gaternet_core::checkpoint::{Checkpoint, Outline};
use gaternet_core::data::{
    Augment, Dataset, ImageFolder, ImageSource, Loader, LoaderConfig, SYNTHETIC,
};

use crate::cli::classes::{self, Metadata};
use crate::cli::sets::{Sets, say_left_out};

/// What the folder `dir` holds, or without one the built-in set that the model in `checkpoint` was
/// trained with, of whose training images the first `train` are drawn. With 0 of them, image files
/// for tests are enough, and both sets of files are those. Classes are the model's, in its order;
/// where that is not the data's, only if `by_name`.
///
/// # Errors
/// If there is no such data, or its classes are not the model's.
pub fn trained_data(
    checkpoint: &Path,
    dir: Option<&Path>,
    train: usize,
    by_name: bool,
) -> Result<Sets> {
    let file = Checkpoint::open(checkpoint)?;
    let Outline { path, metadata, .. } = file.outline();
    let sets = sets(checkpoint, metadata, dir, train)?;
    let name = sets.name().to_owned();
    Ok(Sets { images: classes::fitted(&name, sets.images, (path, metadata), by_name)? })
}

fn sets(checkpoint: &Path, metadata: &Metadata, dir: Option<&Path>, train: usize) -> Result<Sets> {
    match dir {
        Some(dir) if train == 0 && !dir.join("train").is_dir() && ImageFolder::is_in(dir) => {
            let test = ImageFolder::test(dir)?;
            say_left_out(&test);
            let test = ImageSource::from(test);
            Ok(Sets { images: [test.clone(), test] })
        }
        Some(dir) => Sets::open(dir),
        None => built_in(checkpoint, metadata, train),
    }
}

fn built_in(checkpoint: &Path, metadata: &Metadata, train: usize) -> Result<Sets> {
    let path = checkpoint.display();
    let entry = |key: &str| metadata.get(key).map_or("none", String::as_str);
    if entry("data") != SYNTHETIC {
        bail!("{path} was trained on {}, not on the built-in set: pass --data DIR", entry("data"));
    }
    fn number<N: FromStr>(path: &Path, key: &str, text: &str) -> Result<N> {
        text.parse().ok().with_context(|| {
            format!("{}: metadata {key}: expected a number, got {text:?}", path.display())
        })
    }
    let seed = number(checkpoint, "seed", entry("seed"))?;
    let images = number(checkpoint, "test_images", entry("test_images"))?;
    Sets::built_in(seed, train, images).with_context(|| format!("metadata of {path}"))
}

/// Calls `each` with the first `count` images of a set, (N, C, H, W), at most `batch_size` at a
/// time.
///
/// # Errors
/// If there are not as many, one cannot be read, or those of `each`.
pub fn for_first_images(
    images: &ImageSource,
    augment: &Augment,
    count: usize,
    batch_size: usize,
    mut each: impl FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let all = images.len();
    ensure!(count <= all, "--calibration {count}: the training set has {all} images");
    let batch_size = batch_size.min(count);
    let config = LoaderConfig {
        batch_size,
        drop_last: false,
        shuffle: false,
        seed: 0,
        augment: augment.clone(),
    };
    let mut left = count;
    for batch in Loader::new(images.clone(), config)?.epoch(0) {
        let batch = batch?;
        let (images, len) = (batch.labels.len(), batch.images.len() / batch.labels.len());
        each(&batch.images.data()[..images.min(left) * len])?;
        left = left.saturating_sub(images);
        if left == 0 {
            break;
        }
    }
    Ok(())
}
