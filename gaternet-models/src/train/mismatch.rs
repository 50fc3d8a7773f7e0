//! Classes of a data set that are not those of a model.

use std::fmt;
use std::path::PathBuf;

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

/// What is different.
pub(super) enum Difference {
    /// The same names in another order.
    Order(String),
    /// Other names.
    Names(String),
}

/// How the names of a data set differ from a model's.
pub(super) fn difference(model: &[String], data: &[String]) -> Option<Difference> {
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
pub(super) fn is_unnamed(names: &[String]) -> bool {
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
