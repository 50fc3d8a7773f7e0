//! What is done to an image before a saved model sees it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::data::{Augment, Cifar, Normalize, ResizedCrop};
use serde::de::DeserializeOwned;

/// As the metadata of `checkpoint` say, unless the command line does. A file that says nothing is
/// of a model for CIFAR.
///
/// # Errors
/// If the file cannot be read, or its metadata are none of such sizes and numbers.
pub fn of(checkpoint: &Path, image_size: Option<usize>, resize: Option<usize>) -> Result<Augment> {
    let file = Checkpoint::open(checkpoint)?;
    let metadata = &file.outline().metadata;
    let stored = |key: &str| entry::<usize>(checkpoint, metadata, key);
    // The middle of another size is another fraction of the image.
    let resize = match image_size {
        Some(_) => resize,
        None => resize.or(stored("resize")?),
    };
    let size = image_size.or(stored("image_size")?);
    let mut augment = match size {
        Some(size) => Augment::eval_resized(size),
        None => Augment::eval(),
    };
    if let Some(resize) = resize {
        let size = size.unwrap_or(Cifar::SIZE[0]);
        augment.resized = Some(ResizedCrop::Center { size, resize });
    }
    let normalize = Normalize::from_metadata(metadata);
    let normalize = normalize.with_context(|| format!("metadata of {}", checkpoint.display()))?;
    augment.normalize = normalize.unwrap_or(augment.normalize);
    augment.check()?;
    Ok(augment)
}

fn entry<T: DeserializeOwned>(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    key: &str,
) -> Result<Option<T>> {
    let Some(text) = metadata.get(key) else { return Ok(None) };
    let value = serde_json::from_str(text);
    value.with_context(|| format!("{}: metadata {key} = {text:?}", path.display()))
}
