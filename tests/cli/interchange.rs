//! `tools/convert_checkpoint.py` on checkpoints of other people's code, where a Python with PyTorch
//! is found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::stdout;
use gaternet::core::checkpoint::{Checkpoint, TensorValue};
use gaternet::core::{Ctx, Tensor};
use gaternet::models::{
    BackboneConfig, GateOverride, GatePlacement, GatedConfig, GatedNet, GaterConfig, Model,
    PlainNet,
};
use gaternet_kernels::test_support::python;

fn tensor(file: &Checkpoint, name: &str) -> Tensor {
    match &file.tensors[name] {
        TensorValue::F32(tensor) => tensor.clone(),
        _ => panic!("{}: {name} holds no f32", file.path.display()),
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
    let Some(python) = python("torch", "torch, safetensors") else { return };
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
        let metadata = Checkpoint::load(&path).expect("a converted file").metadata;
        assert!(metadata.contains_key("mean") && metadata.contains_key("std"), "{name}");
        let large = name.starts_with("torchvision");
        assert_eq!(metadata.get("image_size").is_some_and(|size| size == "224"), large, "{name}");
        let model = Model::load(&path).expect("a converted file");
        let error = error(out, name, &model);
        assert!(error <= 1e-4, "{name}: a logit is off by {error}");
        let Model::Plain(model) = model else { panic!("{name} has no gater") };
        let fresh = PlainNet::new(*model.config(), 1).expect("valid");
        fresh.load_weights(&path).expect("a converted file");
    }
    for (name, placement) in
        [("gated", GatePlacement::BlockOutput), ("gated-all", GatePlacement::All)]
    {
        let path = out.join(format!("{name}.safetensors"));
        let model = Model::load(&path).expect("a converted file");
        let error = error(out, name, &model);
        assert!(error <= 1e-4, "{name}: a logit is off by {error}");
        let Model::Gated(model) = model else { panic!("{name} has a gater") };
        assert_eq!(model.config().placement, placement);
        assert_eq!(model.config().gater.batch_norm, placement == GatePlacement::All);
        let fresh = GatedNet::new(model.config().clone(), 1).expect("valid");
        fresh.load_weights(&path).expect("a converted file");
    }

    let refusals: [&[&str]; 10] = [
        &["unknown layout", "layer4.0.weight (2, 2)", "and 8 more", "Known layouts: gaternet,"],
        &["no output layer"],
        &["a NaN or an infinity", "bn.bias"],
        &["\"depth\": 14", "missing stage2.block2.conv1.weight", "and 2 more"],
        &["no state dict with weights", "state_dict: dict"],
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

/// What the library writes that is more than weights: names of classes, numbers of filters, shared
/// gates and overrides.
fn write_models(folder: &Path) {
    let names = r#"["cat", "dog", "\u00e9", "x y"]"#.to_owned();
    let entries =
        [("class_names", names), ("digest.conv", "0f".to_owned()), ("seed", "3".to_owned())];
    let metadata: BTreeMap<_, _> = entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let path = |name: &str| folder.join(format!("{name}.safetensors"));
    let small = |config| BackboneConfig { width: 0.25, ..config };
    let resnet = small(BackboneConfig::resnet(14, 4));
    let wide = small(BackboneConfig::wide_resnet(10, 2, 4));
    let plain = PlainNet::new(resnet, 1).expect("valid");
    plain.save(path("plain"), &metadata).expect("written");
    for (name, config, filters) in
        [("narrow", resnet, vec![4, 1, 8, 3, 16, 5]), ("narrow-wide", wide, vec![2, 7, 16])]
    {
        let net = PlainNet::narrowed(config, &filters, 1).expect("valid");
        net.save(path(name), &metadata).expect("written");
    }
    let config = GatedConfig {
        placement: GatePlacement::Inner,
        gate_overrides: vec![
            GateOverride { convs: "stage3.*".to_owned(), gated: false },
            GateOverride { convs: "*.block2.conv2".to_owned(), gated: true },
        ],
        filters_per_gate: 3,
        gater: GaterConfig {
            depth: 8,
            width: 0.5,
            pool: 2,
            batch_norm: true,
            ..Default::default()
        },
        ..GatedConfig::new(resnet)
    };
    let gated = GatedNet::new(config, 1).expect("valid");
    gated.save(path("gated"), &metadata).expect("written");
}

#[test]
fn kinds_of_files_that_trainers_write_load_once_converted() {
    let Some(python) = python("torch", "torch, safetensors") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let [library, back, kinds] = ["library", "back", "kinds"].map(|name| folder.path().join(name));
    fs::create_dir(&library).expect("a folder");
    write_models(&library);
    // Compares the values of all that it converts.
    let script = root.join("tests/cli/interchange/kinds_of_files.py");
    stdout(Command::new(&python).arg(script).arg(root.join("tools")).arg(folder.path()));

    let files = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    for path in files(&kinds) {
        let loaded = Model::load(&path);
        assert!(loaded.is_ok(), "{}: {}", path.display(), loaded.expect_err("checked"));
    }
    assert!(files(&kinds).len() > 20, "{:?}", files(&kinds));
    for path in files(&library) {
        let converted = back.join(path.file_name().expect("a name"));
        let [before, after] = [&path, &converted].map(|path| Model::load(path).expect("loads"));
        let images = Tensor::full([2, 3, 32, 32], 0.5).expect("small");
        let [want, got] = [&before, &after]
            .map(|model| model.forward(&images, &mut Ctx::eval()).expect("they fit").0);
        assert_eq!(got.data(), want.data(), "{}", path.display());
    }
    assert_eq!(files(&back).len(), 4);
}
