//! What can end a training.

use std::io;
use std::path::{Path, PathBuf};

use super::mismatch::Mismatch;

/// Why a training cannot begin, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, a file or a network: what the other calls of this library say too.
    #[error(transparent)]
    Model(#[from] gaternet_core::Error),
    /// The GPU, or something that it has no kernel for.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::Error),
    /// A file of an earlier run that would be lost.
    #[error("{} exists: it must be removed, replaced, or resumed from", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process trains in the folder.
    #[error("{} is in use by {owner}: wait for its end, or choose another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// As in `process 4711`.
        owner: String,
    },
    /// The folder is of a run with other settings, whose results this one cannot continue.
    #[error("cannot resume: {} is of a run with {name} = {there}, this one has {here}", path.display())]
    OtherRun {
        /// The file that says so.
        path: PathBuf,
        /// The first setting that differs, as the metadata of the files name it.
        name: String,
        /// Its value in the file.
        there: String,
        /// Its value here.
        here: String,
    },
    /// The model of a run that is not complete, without the state from which it could go on.
    #[error(
        "cannot resume: {} is missing, and {} is of a run that is not complete",
        state.display(), model.display()
    )]
    NoState {
        /// The file that is missing.
        state: PathBuf,
        /// The file that is there.
        model: PathBuf,
    },
    /// A file of the run that is not as it was written.
    #[error("{}{what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the words or the colon that join it to the path.
        what: String,
        /// What was found, if a reader of files said it.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The classes of the images are not those of the model.
    #[error("{mismatch}")]
    Classes {
        /// How they differ.
        mismatch: Mismatch,
    },
    /// A training step would have too few images for a batch norm.
    #[error(
        "batch_size = {batch_size} makes a step of {step} image, of {images}, and a batch norm of this network needs \
         {least} of them: {}",
        choose(nearest, *drop_last)
    )]
    SmallBatch {
        /// Images of a step.
        batch_size: usize,
        /// Images of the smallest step.
        step: usize,
        /// Images of an epoch.
        images: usize,
        /// The fewest images of a step.
        least: usize,
        /// The nearest batch sizes that can be trained with: a smaller one, a larger one, where
        /// there are such.
        nearest: Vec<usize>,
        /// Whether [`Recipe::drop_last`](super::Recipe::drop_last) would help.
        drop_last: bool,
    },
    /// Numbers that are no longer finite: the training has diverged.
    #[error("{event}: try a lower learning rate, or clip_grad_norm; {kept}")]
    Diverged {
        /// What is not finite, first in which layer, and when.
        event: String,
        /// What there is of the run.
        kept: String,
    },
}

/// Result of everything fallible in a training.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A file operation that the operating system has refused.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| gaternet_core::Error::Io { action, path: path.to_path_buf(), source }.into()
    }

    /// `what` follows the path as it is.
    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_path_buf(), what: what.into(), source: None }
    }

    /// `what` follows the path as it is.
    pub(super) fn damaged_by<E: std::error::Error + Send + Sync + 'static>(
        path: &Path,
        what: &str,
    ) -> impl FnOnce(E) -> Error {
        move |error| Error::Damaged {
            path: path.to_path_buf(),
            what: what.to_owned(),
            source: Some(error.into()),
        }
    }
}

impl From<gaternet_kernels::KernelError> for Error {
    fn from(error: gaternet_kernels::KernelError) -> Error {
        Error::Model(error.into())
    }
}

fn choose(nearest: &[usize], drop_last: bool) -> String {
    let nearest: Vec<_> = nearest.iter().map(usize::to_string).collect();
    let choose = match nearest.is_empty() {
        true => "there are too few images".to_owned(),
        false => format!("choose {}", nearest.join(" or ")),
    };
    let drop = if drop_last { ", or leave that step out with drop_last" } else { "" };
    choose + drop
}
