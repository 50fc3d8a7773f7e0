//! Names of classes: those of a data set, and those that a saved model was trained on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gaternet_core::data::{Dataset, ImageSource};

/// Key of the names in the metadata of a checkpoint, a JSON list in the order of the outputs.
pub const METADATA: &str = "class_names";

/// Names in a message, at most.
const LISTED: usize = 10;

/// What a checkpoint says beside its tensors.
pub type Metadata = BTreeMap<String, String>;

/// The names that the model in the file `path` was trained on; `None` in files that say nothing.
///
/// # Errors
/// If the metadata of the file hold something else than a list of names.
pub fn of_checkpoint(path: &Path, metadata: &Metadata) -> Result<Option<Vec<String>>> {
    let Some(text) = metadata.get(METADATA) else { return Ok(None) };
    let names = serde_json::from_str(text);
    names.with_context(|| format!("{}: metadata {METADATA} = {text:?}", path.display()))
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
    (path, metadata): (&Path, &Metadata),
    by_name: bool,
) -> Result<[ImageSource; 2]> {
    let names = of_checkpoint(path, metadata)?;
    let path = path.display();
    let Some(names) = names else {
        ensure!(!by_name, "--classes-by-name: {path} does not name its classes");
        return Ok([train, test]);
    };
    // CIFAR without its file of names has none: then its labels say the same with any names.
    let one_cifar =
        data.starts_with("cifar") && metadata.get("data").is_some_and(|trained| trained == data);
    let fit = |set: ImageSource| -> Result<ImageSource> {
        let unnamed = one_cifar && (is_unnamed(&names) || is_unnamed(set.classes()));
        match difference(&names, set.classes()) {
            None => {}
            Some(_) if unnamed => {}
            Some(Difference::Order(_)) if by_name => return Ok(set.with_classes(&names)?),
            Some(Difference::Order(text)) => bail!(
                "the classes of the data are those of {path} in another order: {text}; \
                 --classes-by-name goes by their names"
            ),
            Some(Difference::Names(text)) => {
                bail!("the classes of the data are not those of {path}: {text}")
            }
        }
        Ok(set)
    };
    Ok([fit(train)?, fit(test)?])
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
