//! What the options of this program can do about an error of a training.

use anyhow::{Error, anyhow};
use gaternet::cli::classes::advised;
use gaternet::core::Error as ModelError;
use gaternet::models::train::{Architecture, Error as TrainError, Mismatch, Recipe};

/// What a run was asked for.
pub(crate) struct Asked<'a> {
    pub(crate) recipe: &'a Recipe,
    /// Whether options were given that make it what it is.
    pub(crate) by_options: bool,
}

/// `error` of a folder, and what to do about it.
pub(crate) fn of_folder(error: TrainError) -> Error {
    match error {
        TrainError::Exists { path } => {
            let path = path.display();
            anyhow!(
                "{path} exists: choose another --out, pass --overwrite to replace it or --resume to go on"
            )
        }
        TrainError::InUse { dir, owner } => {
            let dir = dir.display();
            anyhow!("{dir} is in use by {owner}: wait for its end, or choose another --out")
        }
        other => other.into(),
    }
}

/// `error` of a run, and what to do about it.
pub(crate) fn of_run(error: TrainError, asked: &Asked<'_>) -> Error {
    let recipe = asked.recipe;
    match error {
        TrainError::OtherRun { .. } => {
            let or_none = if asked.by_options { ", or none" } else { "" };
            anyhow!(
                "{error}; pass the options that it was begun with{or_none}, or choose another --out"
            )
        }
        TrainError::Classes { mismatch } => of_classes(mismatch, recipe),
        TrainError::SmallBatch { batch_size, step, images, least, nearest, drop_last } => {
            let nearest: Vec<_> = nearest.iter().map(usize::to_string).collect();
            let choose = match nearest.is_empty() {
                true => "there are too few images".to_owned(),
                false => format!("choose --batch-size {}", nearest.join(" or ")),
            };
            let drop = match drop_last {
                true => ", or leave that step out with --drop-last",
                false => "",
            };
            anyhow!(
                "--batch-size {batch_size} makes a step of {step} image, of {images}, and a batch norm of this network \
                 needs {least} of them: {choose}{drop}"
            )
        }
        TrainError::Diverged { event, kept } => {
            anyhow!("{event}: try a lower --lr, or --clip-grad-norm; {kept}")
        }
        TrainError::Model(ModelError::Config { field: "classes_by_name", .. }) => anyhow!(
            "--classes-by-name: needs --resume, --checkpoint or --backbone-checkpoint, without --new-head"
        ),
        TrainError::Model(error) => of_model(error, recipe),
        other => of_folder(other),
    }
}

fn of_classes(mismatch: Mismatch, recipe: &Recipe) -> Error {
    let error = advised(&mismatch);
    let (Mismatch::Unnamed { path } | Mismatch::Order { path, .. } | Mismatch::Names { path, .. }) =
        &mismatch
    else {
        return error;
    };
    let start = recipe.checkpoint.as_ref().or(recipe.backbone_checkpoint.as_ref());
    match start == Some(path) {
        true => error.context("a model of other classes needs --new-head"),
        false => error,
    }
}

/// `error` of a file that the model should begin with, and what to do about another kind of model.
fn of_model(error: ModelError, recipe: &Recipe) -> Error {
    let hint = match (&error, &recipe.network) {
        (ModelError::OtherKind { wanted: "plain", .. }, Architecture::Gated(_)) => {
            "--backbone-checkpoint takes a plain model; --checkpoint begins with a gated one"
        }
        (ModelError::OtherKind { wanted: "plain", .. }, Architecture::Plain(_)) => {
            "a run with --dense begins with a plain model, one without it with a gated one"
        }
        (ModelError::OtherKind { .. }, _) => {
            "--checkpoint takes a gated model here; --backbone-checkpoint begins with a plain one"
        }
        _ => return error.into(),
    };
    anyhow!("{error}: {hint}")
}
