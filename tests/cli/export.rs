//! `export`, and its files in other programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::{example, failure, stdout, tiny_plain_training, tiny_training, tree};
use gaternet::core::{Ctx, Tensor};
use gaternet::models::{GatePlacement, GatedResNet, Model};
use gaternet_kernels::test_support::python;
use serde_json::Value;
use tempfile::tempdir;

/// A gated network without trained gates: about half are open, and most differ by image.
fn gated(dir: &Path) -> String {
    stdout(tiny_training(dir).args(["--placement", "inner"]));
    dir.join("model.safetensors").display().to_string()
}

fn export(checkpoint: &str, out: &Path, args: &[&str]) -> Command {
    let mut export = example("export");
    export.args(["--threads", "1", "--checkpoint", checkpoint, "--out"]).arg(out).args(args);
    export
}

#[test]
fn the_pruned_subnetwork_is_a_smaller_network_that_evaluates() {
    let dir = tempdir().expect("a folder");
    let checkpoint = gated(&dir.path().join("trained"));
    let out = dir.path().join("static.safetensors");
    let args = ["--calibration", "30", "--min-open", "0.5"];
    let table = stdout(&mut export(&checkpoint, &out, &args));
    assert!(table.contains("synthetic, 30 training images"), "{table}");
    let evaluation = |file: &Path| -> Value {
        let mut evaluate = example("evaluate");
        let json = stdout(evaluate.args(["--json", "--checkpoint"]).arg(file));
        serde_json::from_str(&json).expect("one object")
    };
    let (part, whole) = (evaluation(&out), evaluation(Path::new(&checkpoint)));
    assert_eq!((&part["images"], &part["macs_gater"]), (&20.into(), &0.0.into()));
    let macs = |of: &Value| of["macs_plain"].as_f64().expect("a count");
    assert!(macs(&part) < 0.9 * macs(&whole), "{part} of {whole}");

    let onnx = dir.path().join("static.onnx");
    stdout(&mut export(&checkpoint, &onnx, &args));
    let whole_onnx = dir.path().join("whole.onnx");
    stdout(&mut export(&checkpoint, &whole_onnx, &[]));
    let len = |file: &Path| fs::metadata(file).expect("a file").len();
    assert!(len(&onnx) < len(&out) && len(&out) < len(&whole_onnx));
}

/// Logits of a CIFAR ResNet of basic blocks, whatever the numbers of its filters, for 4 images of
/// noise.
const TORCH: &str = r#"
import sys
import numpy, torch, torch.nn.functional as F
from safetensors.torch import load_file

file, images = sys.argv[1:]
state = load_file(file)
def norm(x, name):
    mean, var = (state[f"{name}.running_{of}"] for of in ("mean", "var"))
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)
def conv(x, name, stride=1):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
x = torch.from_numpy(numpy.fromfile(images, dtype="<f4").reshape(-1, 3, 32, 32))
x = F.relu(norm(conv(x, "conv"), "bn"))
for stage in (1, 2, 3):
    for block in range(1, 4):
        name, stride = f"stage{stage}.block{block}", 2 if stage > 1 and block == 1 else 1
        y = F.relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        y = norm(conv(y, f"{name}.conv2"), f"{name}.bn2")
        if f"{name}.shortcut.conv.weight" in state:
            x = norm(conv(x, f"{name}.shortcut.conv", stride), f"{name}.shortcut.bn")
        x = F.relu(x + y)
logits = F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])
print(*logits.flatten().tolist())
"#;

#[test]
fn pytorch_computes_a_pruned_subnetwork() {
    let Some(python) = python("torch", "torch, safetensors.torch") else { return };
    let dir = tempdir().expect("a folder");
    let checkpoint = gated(&dir.path().join("trained"));
    let out = dir.path().join("static.safetensors");
    stdout(&mut export(&checkpoint, &out, &["--calibration", "30", "--min-open", "0.5"]));
    let images = Tensor::randn([4, 3, 32, 32], 1.0, Ctx::train(1).rng()).expect("small");
    let file = dir.path().join("images");
    let bytes: Vec<u8> = images.data().iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(&file, bytes).expect("a writable folder");
    let text = stdout(Command::new(python).args(["-c", TORCH]).arg(&out).arg(&file));
    let got: Vec<f32> = text.split_whitespace().map(|x| x.parse().expect("a number")).collect();
    let model = Model::load(&out).expect("just written");
    let (want, _) = model.forward(&images, &mut Ctx::eval()).expect("they fit");
    assert_eq!(got.len(), want.len());
    let scale = want.data().iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    for (got, want) in got.iter().zip(want.data()) {
        assert!((got - want).abs() < 1e-4 * scale, "{got}, ours is {want}");
    }
}

#[test]
fn what_cannot_be_exported_says_why() {
    let dir = tempdir().expect("a folder");
    let (trained, plain) = (dir.path().join("trained"), dir.path().join("plain"));
    let checkpoint = gated(&trained);
    let model = GatedResNet::load(&checkpoint).expect("just trained");
    assert_eq!(model.config().placement, GatePlacement::Inner);
    stdout(&mut tiny_plain_training(&plain));
    let plain = plain.join("model.safetensors").display().to_string();
    let before = tree(dir.path());
    for (checkpoint, out, args, part) in [
        (&checkpoint, "model.txt", &[][..], "must end with .onnx or .safetensors"),
        (&checkpoint, "model.safetensors", &[], "pass --calibration"),
        (&checkpoint, "model.onnx", &["--calibration", "0"], "--calibration 0: must be at least 1"),
        (
            &checkpoint,
            "a.onnx",
            &["--calibration", "9", "--min-open", "1"],
            "--min-open 1: must be",
        ),
        (&plain, "model.safetensors", &["--calibration", "9"], "has no gates"),
        (&checkpoint, "nowhere/model.onnx", &[], "nowhere/model.onnx"),
        (&plain, "nowhere/model.onnx", &[], "nowhere/model.onnx"),
    ] {
        let message = failure(&mut export(checkpoint, &dir.path().join(out), args), 1);
        assert!(message.contains(part), "{out} {args:?}: {message}");
    }
    let data = ["--calibration", "9", "--data", "nowhere"];
    let message = failure(&mut export(&checkpoint, &dir.path().join("a.onnx"), &data), 1);
    assert!(message.contains("nowhere"), "{message}");
    assert_eq!(tree(dir.path()), before, "a file was written or lost");
}
