//! Class names, and whole models that another run starts from.

use std::fs;
use std::path::{Path, PathBuf};

use crate::image_folder::folder;
use crate::programs::{example, failure, stdout};
use gaternet::core::checkpoint::{Checkpoint, TensorValue};
use serde_json::Value;
use tempfile::tempdir;

/// Classes `blue` and `red` under other names.
fn renamed(data: &Path, to: &Path, names: [&str; 2]) -> PathBuf {
    for set in ["train", "val"] {
        for (old, new) in ["blue", "red"].iter().zip(names) {
            let (from, to) = (data.join(set).join(old), to.join(set).join(new));
            fs::create_dir_all(&to).expect("a folder");
            for file in fs::read_dir(from).expect("a folder") {
                let file = file.expect("a file");
                fs::copy(file.path(), to.join(file.file_name())).expect("copied");
            }
        }
    }
    to.to_path_buf()
}

fn train(data: &Path, out: &Path, args: &[&str]) -> std::process::Command {
    let mut train = example("train_cifar");
    train.args(["--image-size", "16", "--epochs", "3", "--batch-size", "8"]);
    if !args.contains(&"--dense") {
        train.args(["--gater-depth", "8"]);
    }
    train.args(["--width", "0.25", "--threads", "2", "--data"]).arg(data);
    train.arg("--out").arg(out).args(args);
    train
}

#[test]
fn a_model_and_data_with_other_classes_do_not_meet() {
    let data = folder(24, "val", 12);
    let dir = tempdir().expect("a folder");
    let other = renamed(data.path(), &dir.path().join("other"), ["blue", "zebra"]);
    // Sorted by name, the red ones come first.
    let permuted = dir.path().join("permuted");
    renamed(data.path(), &permuted, ["red", "blue"]);
    let out = dir.path().join("out");
    stdout(&mut train(data.path(), &out, &["--stop-after", "2"]));
    let model = out.join("model.safetensors");
    let evaluate = |data: &Path, args: &[&str]| {
        let mut evaluate = example("evaluate");
        evaluate.args(["--json", "--threads", "1", "--checkpoint"]).arg(&model);
        evaluate.arg("--data").arg(data).args(args);
        evaluate
    };
    let export = |args: &[&str]| {
        let mut export = example("export");
        export.arg("--checkpoint").arg(&model).arg("--out").arg(dir.path().join("x.safetensors"));
        export.args(["--calibration", "8", "--data"]).arg(&other).args(args);
        export
    };
    let resumed = dir.path().join("resumed");
    fs::create_dir(&resumed).expect("a folder");
    for name in ["model.safetensors", "state.safetensors", "metrics.jsonl"] {
        fs::copy(out.join(name), resumed.join(name)).expect("copied");
    }
    let start = [&["--dense", "--backbone-checkpoint"][..], &["--checkpoint"]];
    let [backbone, whole] = start.map(|options| {
        let mut train = train(&other, &dir.path().join("new"), options);
        train.arg(&model);
        train
    });
    for mut command in [
        evaluate(&other, &[]),
        evaluate(&other, &["--classes-by-name"]),
        evaluate(&other, &["--per-class", "--budget", "0.9", "--calibration", "8"]),
        export(&[]),
        train(&other, &resumed, &["--resume"]),
        whole,
        backbone,
    ] {
        let message = failure(&mut command, 1);
        for part in ["classes", "\"red\"", "\"zebra\""] {
            assert!(message.contains(part), "{command:?}: no {part:?} in {message:?}");
        }
    }
    // The same names, whose pictures are exchanged: every image is of the class that it says.
    let accuracy = |data: &Path, args: &[&str]| -> f64 {
        let json = stdout(&mut evaluate(data, args));
        let json: Value = serde_json::from_str(&json).expect(&json);
        json["accuracy"].as_f64().expect("a number")
    };
    let (same, exchanged) = (accuracy(data.path(), &[]), accuracy(&permuted, &[]));
    assert!((same + exchanged - 1.0).abs() < 1e-9, "{same} and {exchanged}");
}

#[test]
fn classes_in_another_order_go_by_their_names_if_asked_to() {
    let data = folder(24, "val", 12);
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    stdout(&mut train(data.path(), &out, &[]));
    let path = out.join("model.safetensors");
    let stored = Checkpoint::load(&path).expect("a model");
    assert_eq!(stored.metadata["class_names"], r#"["blue","red"]"#);
    // The same model with its outputs exchanged: nothing but their order differs.
    let mut tensors = stored.tensors.clone();
    for name in ["backbone.fc.weight", "backbone.fc.bias"] {
        let Some(TensorValue::F32(tensor)) = tensors.get(name) else { panic!("no {name}") };
        let half = tensor.len() / 2;
        let rows = [&tensor.data()[half..], &tensor.data()[..half]].concat();
        let tensor = gaternet::core::Tensor::new(rows, tensor.shape()).expect("as before");
        tensors.insert(name.to_owned(), TensorValue::F32(tensor));
    }
    let mut metadata = stored.metadata.clone();
    metadata.insert("class_names".to_owned(), r#"["red","blue"]"#.to_owned());
    let other = dir.path().join("exchanged.safetensors");
    let tensors: Vec<_> = tensors.into_iter().collect();
    gaternet::core::checkpoint::save(&other, &tensors, &metadata).expect("saved");
    let evaluate = |model: &Path, args: &[&str]| {
        let mut evaluate = example("evaluate");
        evaluate.args(["--json", "--per-class", "--threads", "1", "--data"]).arg(data.path());
        evaluate.arg("--checkpoint").arg(model).args(args);
        evaluate
    };
    let message = failure(&mut evaluate(&other, &[]), 1);
    assert!(message.contains("another order: class 0 is \"red\" there, \"blue\""), "{message}");
    assert!(message.contains("--classes-by-name"), "{message}");
    let lines = dir.path().join("predictions.jsonl");
    let result = |model: &Path, args: &[&str]| -> (Value, Vec<String>) {
        let json = stdout(evaluate(model, args).arg("--predictions").arg(&lines));
        let mut json: Value = serde_json::from_str(&json).expect(&json);
        json["images_per_second"] = Value::Null;
        let classes = json["classes"].as_array_mut().expect("a list");
        classes.sort_by_key(|class| class["class"].to_string());
        let lines = fs::read_to_string(&lines).expect("written");
        (json, lines.lines().map(str::to_owned).collect())
    };
    let (first, lines) = result(&path, &[]);
    assert_eq!((first.clone(), lines.clone()), result(&other, &["--classes-by-name"]));
    assert_eq!(lines.len(), 12);
    let right = lines.iter().filter(|line| {
        let line: Value = serde_json::from_str(line).expect(line);
        let class = line["class"].as_str().expect("a name").to_owned();
        assert!(line["image"].as_str().expect("a path").contains(&class), "{line}");
        line["predicted"] == line["class"]
    });
    assert_eq!(right.count() as f64 / 12.0, first["accuracy"].as_f64().expect("a number"));
}

#[test]
fn a_model_is_fine_tuned_on_other_classes_with_a_new_head() {
    let data = folder(24, "val", 12);
    let dir = tempdir().expect("a folder");
    let [out, tuned, plain] = ["out", "tuned", "plain"].map(|name| dir.path().join(name));
    stdout(&mut train(data.path(), &out, &[]));
    let three = dir.path().join("three");
    renamed(data.path(), &three, ["one", "two"]);
    for set in ["train", "val"] {
        let third = three.join(set).join("three");
        fs::create_dir(&third).expect("a folder");
        for file in fs::read_dir(three.join(set).join("one")).expect("a folder") {
            let file = file.expect("a file");
            fs::copy(file.path(), third.join(file.file_name())).expect("copied");
        }
    }
    let model = out.join("model.safetensors");
    let tune = |out: &Path, args: &[&str]| {
        let mut tune = train(&three, out, &["--lr", "0", "--weight-decay", "0"]);
        tune.arg("--checkpoint").arg(&model).args(args);
        tune
    };
    let message = failure(&mut tune(&tuned, &[]), 1);
    for part in ["\"three\"", "\"blue\"", "--new-head"] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    stdout(&mut tune(&tuned, &["--new-head"]));
    let [before, after] = [&out, &tuned]
        .map(|out| Checkpoint::load(out.join("model.safetensors")).expect("a model").tensors);
    for (name, value) in &after {
        let (TensorValue::F32(value), Some(TensorValue::F32(start))) = (value, before.get(name))
        else {
            continue;
        };
        match name.starts_with("backbone.fc.") {
            true => assert_eq!(value.dims()[0], 3, "{name}"),
            false if name.contains("running_") => {}
            false => assert_eq!(value.data(), start.data(), "{name}"),
        }
    }
    let mut backbone = train(data.path(), &plain, &["--backbone-checkpoint"]);
    let message = failure(backbone.arg(&model), 1);
    assert!(message.contains("is a gated model") && message.len() < 400, "{message}");
    assert!(message.contains("--checkpoint begins with a gated one"), "{message}");
    let message = failure(&mut train(&three, &plain, &["--new-head", "--dense"]), 1);
    assert!(message.contains("--new-head: there is no --checkpoint"), "{message}");
}
