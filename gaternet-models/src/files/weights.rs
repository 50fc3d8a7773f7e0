//! Weights of a file for a model that is there.

use gaternet_core::checkpoint::{Checkpoint, CheckpointFile, Number, Outline, TensorKind};
use gaternet_core::nn::Module;
use gaternet_core::{Error, Result};

/// Treatment of the head, the linear layer that computes the logits, when a model loads the weights
/// of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// The head is loaded too, so the file must be of as many classes.
    #[default]
    Same,
    /// The head stays as it is, for fine-tuning on other classes: the file may be of any number of
    /// them. Its head must have the same name and read as many features.
    Fresh,
}

/// The metadata entry `model` of a plain network's file.
pub(crate) const PLAIN: &str = "plain";
pub(crate) const GATED: &str = "gated";

/// Checks that the file is of this kind of model. A file of another program, which does not say its
/// kind, is judged by the names of its tensors: a gated one has two parts.
pub(crate) fn of_kind(file: &Outline, wanted: &'static str) -> Result<()> {
    let part = |prefix: &str| file.tensors.keys().any(|name| name.starts_with(prefix));
    let got = match file.metadata.get("model").map(String::as_str) {
        Some(kind @ (PLAIN | GATED)) => kind,
        Some(_) => return Ok(()),
        None if part("backbone.") && part("gater.") => GATED,
        None => return Ok(()),
    };
    if got == wanted {
        return Ok(());
    }
    Err(Error::OtherKind { path: file.path.clone(), wanted, got: got.to_owned() })
}

/// Sets all weights of `model`, whose head has the state-dict name `name`, or all but the head's.
pub(crate) fn load(
    file: CheckpointFile,
    model: &impl Module,
    head: Head,
    name: Option<String>,
) -> Result<()> {
    let mut state = model.state();
    let mut head_names = None;
    if head == Head::Fresh {
        let name = name.ok_or_else(|| Error::Config {
            field: "head",
            value: format!("{head:?}"),
            rule: "the model's last layer must be a linear layer",
        })?;
        let names = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let weight = state.iter().find(|(name, _)| *name == names[0]);
        let width =
            weight.and_then(|(_, state)| TensorKind::from(state).shape.dims().get(1).copied());
        // Anything else stays in the list of what does not fit.
        if is_head(file.outline(), &names, width) {
            state.retain(|(name, _)| !names.contains(name));
            head_names = Some(names);
        }
    }
    without(file.outline().clone(), head_names.as_ref()).check(&state)?;
    without(file.read()?, head_names.as_ref()).load_into(&state)
}

fn without<T>(mut file: Checkpoint<T>, names: Option<&[String; 2]>) -> Checkpoint<T> {
    file.tensors.retain(|name, _| names.is_none_or(|names| !names.contains(name)));
    file
}

/// Whether these are weight and bias of a linear layer that reads `width` features.
fn is_head(file: &Outline, names: &[String; 2], width: Option<usize>) -> bool {
    let [weight, bias] = names.each_ref().map(|name| file.tensors.get(name));
    let (Some(weight), Some(bias)) = (weight, bias) else { return false };
    let floats = [weight, bias].iter().all(|kind| kind.number == Number::F32);
    let [classes, features] = *weight.shape.dims() else { return false };
    floats && bias.shape.dims() == [classes] && Some(features) == width
}
