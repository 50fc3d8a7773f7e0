//! The weights of a file, into a model that is there.

use gaternet_core::checkpoint::{Checkpoint, TensorValue};
use gaternet_core::nn::Module;
use gaternet_core::{Error, Result};

/// What becomes of the head, the linear layer that computes the logits, when a model takes the weights of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// It takes its weights too, so the file must be of as many classes.
    #[default]
    Same,
    /// It stays as it is, for fine-tuning on other classes: the file may be of any number of them. Its head must
    /// have the same name and read as many features.
    Fresh,
}

/// Sets all of `model`, whose head has the state-dict name `name`, or all but that.
pub(crate) fn load(
    mut file: Checkpoint,
    model: &impl Module,
    head: Head,
    name: Option<String>,
) -> Result<()> {
    let mut state = model.state();
    if head == Head::Fresh {
        let name = name.ok_or_else(|| Error::Config {
            field: "head",
            value: format!("{head:?}"),
            rule: "the model's last layer must be a linear layer",
        })?;
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let width = state.iter().find(|(name, _)| *name == weight).and_then(|(_, state)| {
            let value = TensorValue::from(state);
            value.shape().dims().get(1).copied()
        });
        // Anything else is left to be listed with all that does not fit.
        if is_head(file.tensors.get(&weight), file.tensors.get(&bias), width) {
            file.tensors.retain(|name, _| ![&weight, &bias].contains(&name));
            state.retain(|(name, _)| ![&weight, &bias].contains(&name));
        }
    }
    file.load_into(&state)
}

/// Whether these are weight and bias of a linear layer that reads `width` features.
fn is_head(weight: Option<&TensorValue>, bias: Option<&TensorValue>, width: Option<usize>) -> bool {
    let (Some(TensorValue::F32(weight)), Some(TensorValue::F32(bias))) = (weight, bias) else {
        return false;
    };
    matches!(weight.dims(), [classes, features] if bias.dims() == [*classes] && Some(*features) == width)
}
