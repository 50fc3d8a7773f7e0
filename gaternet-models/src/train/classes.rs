//! Names of classes: those of a data set, and those that a saved model was trained on.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::data::{Dataset, ImageSource};

use super::data::Data;
use super::error::{Error, Result};
use super::mismatch::{Difference, Mismatch, difference, is_unnamed};

/// Key of the names in the metadata of a checkpoint, a JSON list in the order of the outputs.
pub const METADATA: &str = "class_names";

/// The names that a model was trained on, by the `metadata` of its file `path`; `None` in files
/// that say nothing.
///
/// # Errors
/// [`Error::Damaged`] if what it says is no list of names.
pub fn of_checkpoint(
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> Result<Option<Vec<String>>> {
    let Some(text) = metadata.get(METADATA) else { return Ok(None) };
    let names = serde_json::from_str(text);
    names.map_err(Error::damaged_by(path, &format!(": metadata {METADATA} = {text:?}")))
}

/// `data` with the classes of the model in the file `file`, which has this `metadata`, in its
/// order. Classes of other names are an error, and also the same in another order, unless
/// `by_name`: then each image has the label that the model has for the name of its class.
///
/// # Errors
/// [`Error::Classes`], which says how they differ.
pub fn fitted(
    data: &Data,
    (file, metadata): (&Path, &BTreeMap<String, String>),
    by_name: bool,
) -> Result<Data> {
    let path = || file.to_path_buf();
    let fail = |mismatch| Err(Error::Classes { mismatch });
    let Some(names) = of_checkpoint(file, metadata)? else {
        return if by_name { fail(Mismatch::Unnamed { path: path() }) } else { Ok(data.clone()) };
    };
    // CIFAR without its file of names has none: then its labels say the same with any names.
    let one_cifar = data.name.starts_with("cifar")
        && metadata.get("data").is_some_and(|name| *name == data.name);
    let fit = |set: &ImageSource| -> Result<ImageSource> {
        let unnamed = one_cifar && (is_unnamed(&names) || is_unnamed(set.classes()));
        match difference(&names, set.classes()) {
            None => {}
            Some(_) if unnamed => {}
            Some(Difference::Order(_)) if by_name => return Ok(set.with_classes(&names)?),
            Some(Difference::Order(difference)) => {
                return Err(Error::Classes {
                    mismatch: Mismatch::Order { path: path(), difference },
                });
            }
            Some(Difference::Names(difference)) => {
                return Err(Error::Classes {
                    mismatch: Mismatch::Names { path: path(), difference },
                });
            }
        }
        Ok(set.clone())
    };
    Ok(Data { train: fit(&data.train)?, test: fit(&data.test)?, ..data.clone() })
}
