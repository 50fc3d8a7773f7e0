//! What is in a folder of images: bad files, other files, a test set alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::programs::{example, failure, stdout};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Two classes of two images, as text, in `dir/set`.
fn set(dir: &Path, set: &str) {
    for (class, shade) in [("cat", 40), ("dog", 200)] {
        let folder = dir.join(set).join(class);
        fs::create_dir_all(&folder).expect("a folder");
        for number in 1..=2 {
            let image = format!("P2 8 8 255\n{}", format!("{shade} ").repeat(64));
            fs::write(folder.join(format!("{number}.pgm")), image).expect("a writable folder");
        }
    }
}

/// A model for 16x16 pixels of these classes.
fn model() -> TempDir {
    let dir = tempdir().expect("a folder");
    set(dir.path(), "data/train");
    set(dir.path(), "data/val");
    let mut train = example("train_cifar");
    train.args(["--image-size", "16", "--epochs", "1", "--batch-size", "2", "--gater-depth", "8"]);
    train.arg("--data").arg(dir.path().join("data")).arg("--out").arg(dir.path().join("out"));
    train.env("XDG_CACHE_HOME", dir.path().join("cache"));
    stdout(&mut train);
    dir
}

fn with_model(program: &str, dir: &Path, args: &[&str]) -> Command {
    let mut command = example(program);
    command.arg("--checkpoint").arg(dir.join("out/model.safetensors"));
    command.arg("--data").arg(dir.join("data")).args(args);
    command.env("XDG_CACHE_HOME", dir.join("cache"));
    command
}

#[test]
fn a_test_set_alone_is_evaluated_but_not_calibrated_with() {
    let dir = model();
    fs::remove_dir_all(dir.path().join("data/train")).expect("a folder");
    let evaluated: Value =
        serde_json::from_str(&stdout(&mut with_model("evaluate", dir.path(), &["--json"])))
            .expect("JSON");
    assert_eq!((&evaluated["images"], evaluated.get("skipped")), (&4.into(), None));
    fs::rename(dir.path().join("data/val"), dir.path().join("data/test")).expect("a folder");
    stdout(&mut with_model("evaluate", dir.path(), &[]));
    let message = failure(&mut with_model("evaluate", dir.path(), &["--budget", "0.9"]), 1);
    assert!(message.contains("expected train/ beside val/ or test/, got none"), "{message}");
    let part = dir.path().join("part.onnx");
    let mut export = with_model("export", dir.path(), &["--calibration", "2", "--out"]);
    let message = failure(export.arg(part), 1);
    assert!(message.contains("expected train/ beside val/ or test/, got none"), "{message}");
}

#[test]
fn all_bad_files_are_named_before_anything_runs_and_can_be_left_out() {
    let dir = model();
    let val = dir.path().join("data/val");
    for number in 10..23 {
        fs::write(val.join(format!("dog/{number}.jpg")), "<html>").expect("a writable folder");
    }
    fs::write(val.join("dog/list.txt"), "").expect("a writable folder");
    fs::write(val.join("dog/film.GIF"), "").expect("a writable folder");
    fs::write(dir.path().join("data/train/cat/1.pgm"), "P2 8 8").expect("a writable folder");

    let message = failure(&mut with_model("evaluate", dir.path(), &[]), 1);
    let parts = [
        "13 image files cannot be read, which --skip-bad leaves out:",
        "dog/10.jpg: 6 bytes of no known type",
        "dog/19.jpg",
        "and 3 more",
        "data/val: 2 files left out: 1 .gif, 1 .txt",
    ];
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert!(!message.contains("20.jpg") && !message.contains("train/cat"), "{message}");

    let output = with_model("evaluate", dir.path(), &["--json", "--skip-bad"]).output();
    let Output { status, stdout: json, stderr } = output.expect("the program starts");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{stderr}");
    assert!(stderr.contains("13 image files left out that cannot be read:"), "{stderr}");
    let evaluated: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(evaluated["images"], 4);
    let skipped = evaluated["skipped"].as_array().expect("a list");
    assert_eq!(skipped.len(), 13);
    assert_eq!(skipped[12]["reason"], "6 bytes of no known type");
    assert!(skipped[12]["path"].as_str().is_some_and(|path| path.ends_with("dog/22.jpg")));

    // Training images are looked at where they are used.
    let budget = ["--calibration", "2", "--budget", "0.9"];
    let message = failure(&mut with_model("evaluate", dir.path(), &budget), 1);
    assert!(message.contains("14 image files") && message.contains("train/cat/1.pgm"), "{message}");
    let part = dir.path().join("part.onnx");
    let export = |args: &[&str]| {
        let mut export = with_model("export", dir.path(), &["--calibration", "2", "--out"]);
        export.arg(&part).args(args);
        export
    };
    let message = failure(&mut export(&[]), 1);
    assert!(message.contains("1 image file cannot be read"), "{message}");
    assert!(message.contains("train/cat/1.pgm: a file cut off after 6 bytes"), "{message}");
    stdout(&mut export(&["--skip-bad"]));

    fs::write(dir.path().join("data/train/cat/2.pgm"), "P2 8 8").expect("a writable folder");
    let message = failure(&mut export(&["--skip-bad"]), 1);
    assert!(message.contains("cat: images: expected at least one that can be read"), "{message}");
}
