//! Names of classes: those of a data set, and those that a saved model was trained on.

use std::fmt;
use std::path::PathBuf;

use gaternet_core::checkpoint::Checkpoint;
use gaternet_core::data::{Dataset, ImageSource};

use super::data::Data;
use super::error::{Error, Result};

/// Key of the names in the metadata of a checkpoint, a JSON list in the order of the outputs.
pub const METADATA: &str = "class_names";

/// Names in a message, at most.
const LISTED: usize = 10;

/// How the classes of a data set differ from those of the model in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// The file has no names, and the images were to go by them.
    Unnamed {
        /// The file.
        path: PathBuf,
    },
    /// The same names in another order.
    Order {
        /// The file.
        path: PathBuf,
        /// The first class that differs.
        difference: String,
    },
    /// Other names.
    Names {
        /// The file.
        path: PathBuf,
        /// The names that only one has.
        difference: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Unnamed { path } => write!(f, "{} does not name its classes", path.display()),
            Mismatch::Order { path, difference } => write!(
                f,
                "the classes of the data are those of {} in another order: {difference}",
                path.display()
            ),
            Mismatch::Names { path, difference } => write!(
                f,
                "the classes of the data are not those of {}: {difference}",
                path.display()
            ),
        }
    }
}

/// The names that the model in `file` was trained on; `None` in files that say nothing.
///
/// # Errors
/// [`Error::Damaged`] if what it says is no list of names.
pub fn of_checkpoint(file: &Checkpoint) -> Result<Option<Vec<String>>> {
    let Some(text) = file.metadata.get(METADATA) else { return Ok(None) };
    let names = serde_json::from_str(text);
    names.map_err(Error::damaged_by(&file.path, &format!(": metadata {METADATA} = {text:?}")))
}

/// `data` with the classes of the model in `file`, in its order. Classes of other names are an error, and also the same
/// in another order, unless `by_name`: then each image has the label that the model has for the name of its class.
///
/// # Errors
/// [`Error::Classes`], which says how they differ.
pub fn fitted(data: &Data, file: &Checkpoint, by_name: bool) -> Result<Data> {
    let path = || file.path.clone();
    let fail = |mismatch| Err(Error::Classes { mismatch });
    let Some(names) = of_checkpoint(file)? else {
        return if by_name { fail(Mismatch::Unnamed { path: path() }) } else { Ok(data.clone()) };
    };
    // CIFAR without its file of names has none: then its labels say the same with any names.
    let one_cifar = data.name.starts_with("cifar")
        && file.metadata.get("data").is_some_and(|name| *name == data.name);
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

enum Difference {
    /// The same names in another order.
    Order(String),
    /// Other names.
    Names(String),
}

/// How the names of a data set differ from a model's.
fn difference(model: &[String], data: &[String]) -> Option<Difference> {
    if model == data {
        return None;
    }
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|name| !other.contains(name)).cloned().collect()
    };
    let [of_model, of_data] = [only(model, data), only(data, model)];
    if !of_model.is_empty() || !of_data.is_empty() || model.len() != data.len() {
        let part = |whose: &str, names: &[String]| match names.is_empty() {
            true => format!("none are the {whose}'s only"),
            false => format!("{} the {whose}'s only", listed(names)),
        };
        let [model, data] = [part("model", &of_model), part("data set", &of_data)];
        return Some(Difference::Names(format!("{model}, {data}")));
    }
    let at = (0..model.len()).find(|&i| model[i] != data[i])?;
    let text = format!("class {at} is {:?} there, {:?} here", model[at], data[at]);
    Some(Difference::Order(text))
}

/// Whether the names are 0, 1, 2, ...
fn is_unnamed(names: &[String]) -> bool {
    names.iter().enumerate().all(|(i, name)| *name == i.to_string())
}

fn listed(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().take(LISTED).map(|name| format!("{name:?}")).collect();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{}{more} {verb}", quoted.join(", "))
}
