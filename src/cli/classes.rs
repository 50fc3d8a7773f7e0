//! Names of classes: those of a data set, and those that a saved model was trained on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Error, Result, anyhow};
use gaternet_core::data::ImageSource;
use gaternet_models::train::{self, Data, Mismatch};

/// What a checkpoint says beside its tensors.
pub type Metadata = BTreeMap<String, String>;

/// The names that the model in the file `path` was trained on; `None` in files that say nothing.
///
/// # Errors
/// If the metadata of the file hold something else than a list of names.
pub fn of_checkpoint(path: &Path, metadata: &Metadata) -> Result<Option<Vec<String>>> {
    Ok(train::class_names(path, metadata)?)
}

/// The training and the test images of the data set `data` with the classes of the model in the
/// file `path`, in its order. `by_name`, each image has the label that the model has for the name
/// of its class.
///
/// # Errors
/// If the classes have other names than the model's, or the same names in another order and not
/// `by_name`.
pub fn fitted(
    data: &str,
    [train, test]: [ImageSource; 2],
    file: (&Path, &Metadata),
    by_name: bool,
) -> Result<[ImageSource; 2]> {
    let fitted = train::fitted(&Data::new(data, train, test), file, by_name);
    let Data { train, test, .. } = fitted.map_err(|error| match error {
        train::Error::Classes { mismatch } => advised(&mismatch),
        error => error.into(),
    })?;
    Ok([train, test])
}

/// What is different, and the option that helps.
pub fn advised(mismatch: &Mismatch) -> Error {
    match mismatch {
        Mismatch::Unnamed { .. } => anyhow!("--classes-by-name: {mismatch}"),
        Mismatch::Order { .. } => anyhow!("{mismatch}; --classes-by-name goes by their names"),
        _ => anyhow!("{mismatch}"),
    }
}
