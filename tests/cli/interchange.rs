//! `tools/convert_checkpoint.py` on checkpoints of other people's code, where a Python with PyTorch is found.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::stdout;
use gaternet::core::checkpoint::{Checkpoint, TensorValue};
use gaternet::core::{Ctx, Tensor};
use gaternet::models::{GatePlacement, GatedNet, Model, PlainNet};

/// A Python that has torch and safetensors: `GATERNET_PYTHON`, or one on the path.
fn python() -> Option<String> {
    let chosen = std::env::var("GATERNET_PYTHON");
    let names = chosen.map_or_else(|_| vec!["python3".into(), "python".into()], |name| vec![name]);
    let works = |name: &String| {
        let output = Command::new(name).args(["-c", "import torch, safetensors"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = names.iter().find(|name| works(name));
    if found.is_none() {
        let names = names.join(", ");
        println!("SKIPPED: no torch and safetensors in {names} (set GATERNET_PYTHON)");
    }
    found.cloned()
}

fn tensor(file: &Checkpoint, name: &str) -> Tensor {
    match &file.tensors[name] {
        TensorValue::F32(tensor) => tensor.clone(),
        TensorValue::I64 { .. } => panic!("{}: {name} holds integers", file.path.display()),
    }
}

/// The largest difference of the logits of the model in `OUT/NAME.safetensors` from PyTorch's.
fn error(out: &Path, name: &str, model: &Model) -> f32 {
    let values = Checkpoint::load(out.join(format!("{name}.values.safetensors"))).expect("values");
    let images = tensor(&values, "images");
    let (logits, _) = model.forward(&images, &mut Ctx::eval()).expect("they fit");
    let want = tensor(&values, "logits");
    assert_eq!(logits.shape(), want.shape(), "{name}");
    let differences = logits.data().iter().zip(want.data()).map(|(got, want)| (got - want).abs());
    // f32::max would drop a NaN.
    differences.fold(0.0, |worst, d| if d <= worst { worst } else { d })
}

#[test]
fn checkpoints_of_other_code_load_and_compute_the_same() {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    // Converts both ways and compares what comes back, bit by bit.
    let script = root.join("tests/cli/interchange/foreign_networks.py");
    stdout(Command::new(&python).arg(script).arg(root.join("tools")).arg(out));

    for name in [
        "akamaster",
        "akamaster-b",
        "bearpaw",
        "bearpaw-densenet",
        "xternalz",
        "torchvision18",
        "torchvision50",
    ] {
        let path = out.join(format!("{name}.safetensors"));
        let model = Model::load(&path).expect("a converted file");
        let error = error(out, name, &model);
        assert!(error <= 1e-4, "{name}: a logit is off by {error}");
        let Model::Plain(model) = model else { panic!("{name} has no gater") };
        let fresh = PlainNet::new(*model.config(), 1).expect("valid");
        fresh.load_weights(&path).expect("a converted file");
    }
    for (name, placement) in
        [("gated", GatePlacement::ResidualOutput), ("gated-all", GatePlacement::All)]
    {
        let path = out.join(format!("{name}.safetensors"));
        let model = Model::load(&path).expect("a converted file");
        let error = error(out, name, &model);
        assert!(error <= 1e-4, "{name}: a logit is off by {error}");
        let Model::Gated(model) = model else { panic!("{name} has a gater") };
        assert_eq!(model.config().placement, placement);
        let fresh = GatedNet::new(model.config().clone(), 1).expect("valid");
        fresh.load_weights(&path).expect("a converted file");
    }

    let refusals: [&[&str]; 10] = [
        &["unknown layout", "layer4.0.weight (2, 2)", "and 10 more", "Known layouts: gaternet,"],
        &["no output layer"],
        &["bn.bias holds a NaN"],
        &["\"depth\": 14", "missing stage2.block2.conv1.weight", "and 4 more"],
        &["fc.weight is a int, not a tensor"],
        &["expected a state dict, got a list"],
        &["bad.pth: PyTorch finds no plain tensors", "weights_only=False"],
        &["the gater has 56 gates, placement all needs 112"],
        &["WideResNet-pytorch has no name for", "stage2.block1.shortcut.conv.weight"],
        &["cannot write", "none.safetensors", "No such file"],
    ];
    for (number, parts) in refusals.into_iter().enumerate() {
        let path = out.join(format!("refused-{number}.txt"));
        let message = fs::read_to_string(path).expect("a refusal");
        for part in parts {
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
    }
    let help =
        stdout(Command::new(python).arg(root.join("tools/convert_checkpoint.py")).arg("--help"));
    assert!(help.contains("--to-torch") && help.contains("akamaster"), "{help}");
}
