//! What can go wrong, with the values that made it so.

use std::fmt::Write as _;
use std::path::PathBuf;

use gaternet_kernels::KernelError;

/// Everything a caller can cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A kernel refused its arguments.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Tensors that do not fit an op or each other.
    #[error("{op}: {rule}, got {got}")]
    Shape {
        /// The op.
        op: &'static str,
        /// The rule that is broken.
        rule: &'static str,
        /// The offending shapes or values.
        got: String,
    },
    /// A setting outside its range.
    #[error("configuration: {field} = {value}: {rule}")]
    Config {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `rename`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file whose contents are not what its format asks for.
    #[error("{}: {rule}, got {got}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// The rule that is broken.
        rule: &'static str,
        /// What was found.
        got: String,
    },
    /// A file of another format where a checkpoint is wanted.
    #[error("{} is not a safetensors file: {reason}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What it seems to be, and what to do then.
        reason: &'static str,
    },
    /// A checkpoint that is not as this library wrote it. Nothing was loaded.
    #[error(
        "{}: {what} is not as it was written: the file is damaged, or another program changed it and kept the \
         metadata entry `gaternet_digest`, which has to go then",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// As in "tensor `fc.weight`" and "metadata `config`".
        what: String,
    },
    /// A checkpoint of another kind of model. Nothing was loaded.
    #[error("{} is a {got} model, and a {wanted} one is wanted here", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it should be: `plain`, `gated`.
        wanted: &'static str,
        /// What it is.
        got: String,
    },
    /// A checkpoint whose entries are not the ones of the model. Nothing was loaded.
    #[error("{} does not fit the model:{}", path.display(), list(missing, unexpected, misshapen))]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Names the model has and the file lacks.
        missing: Vec<String>,
        /// Names the file has and the model lacks.
        unexpected: Vec<String>,
        /// Names both have, with different shapes or types.
        misshapen: Vec<Misshapen>,
    },
    /// A stored tensor holds NaN or an infinity. Nothing was loaded.
    #[error("{}: tensor `{name}` holds a NaN or an infinity", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A gradient that was asked for does not exist.
    #[error("no gradient for {what}: {rule}")]
    MissingGradient {
        /// Whose gradient.
        what: String,
        /// Why there is none.
        rule: &'static str,
    },
    /// A field of a data file with a value that cannot be.
    #[error("{}: {field}: expected {expected}, got {got}", path.display())]
    Field {
        /// The file or folder.
        path: PathBuf,
        /// The field, with the index of its record.
        field: String,
        /// What the format asks for.
        expected: String,
        /// What was found.
        got: String,
    },
    /// Something about one layer of a network.
    #[error("layer {layer}: {error}")]
    Layer {
        /// Its state-dict name.
        layer: String,
        /// What it was.
        #[source]
        error: Box<Error>,
    },
    /// A device other than the processor refused.
    #[error(transparent)]
    Device(Box<dyn std::error::Error + Send + Sync>),
    /// The operating system refused a thread.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// The error itself, without the layer that it is of.
    #[must_use]
    pub fn root(&self) -> &Error {
        match self {
            Error::Layer { error, .. } => error.root(),
            error => error,
        }
    }

    /// The same, of this layer of a network. What a layer inside it has said keeps that name.
    #[must_use]
    pub fn at(self, layer: &str) -> Error {
        match self {
            Error::Layer { .. } => self,
            error => Error::Layer { layer: layer.to_owned(), error: Box::new(error) },
        }
    }
}

/// Result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A tensor whose shape or type in a checkpoint differs from the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misshapen {
    /// Name in the state dict.
    pub name: String,
    /// Element type and shape in the model, as in `f32 (64, 10)`.
    pub expected: String,
    /// Element type and shape in the file.
    pub got: String,
}

/// The text of `value` for an [`Error::Config`], in the digits that were given: an f32 that was
/// widened shows those of the f32, 0.3 and not 0.30000001192092896.
#[must_use]
pub fn digits(value: f64) -> String {
    let narrow = value as f32;
    if f64::from(narrow) == value { narrow.to_string() } else { value.to_string() }
}

/// Names shown of a list; of the others only how many they are.
const SHOWN: usize = 10;

fn list(missing: &[String], unexpected: &[String], misshapen: &[Misshapen]) -> String {
    let of_other_shape = |misfit: &Misshapen| {
        let Misshapen { name, expected, got } = misfit;
        format!("{name} is {got}, expected {expected}")
    };
    let misshapen: Vec<_> = misshapen.iter().map(of_other_shape).collect();
    let mut text = String::new();
    for (title, entries, separator) in
        [(" missing", missing, ", "), (" unexpected", unexpected, ", "), ("", &misshapen, "; ")]
    {
        if entries.is_empty() {
            continue;
        }
        let shown = entries[..entries.len().min(SHOWN)].join(separator);
        // Writing to a String cannot fail.
        let _ = write!(text, "{title} {shown}");
        if entries.len() > SHOWN {
            let _ = write!(text, " and {} more", entries.len() - SHOWN);
        }
        text.push(';');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_were_given() {
        for (value, text) in [
            (f64::from(0.3_f32), "0.3"),
            (0.3, "0.3"),
            (1.000_000_001, "1.000000001"),
            (-2.0, "-2"),
        ] {
            assert_eq!(digits(value), text);
        }
        assert_eq!(digits(f64::NAN), "NaN");
        assert_eq!(digits(f64::from(f32::NEG_INFINITY)), "-inf");
    }
}
