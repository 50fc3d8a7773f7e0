//! What is found before the first step, and what warms up after it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::image_folder::folder;
use crate::programs::{example, failure, metrics, stdout, tree};
use gaternet::core::checkpoint::Checkpoint;
use serde_json::Value;
use tempfile::tempdir;

fn train(data: &Path, cache: &Path, out: &Path, args: &[&str]) -> Command {
    let mut train = example("train_cifar");
    train.args(["--image-size", "16", "--dense", "--epochs", "1", "--batch-size", "8"]);
    train.args(["--width", "0.25", "--threads", "2", "--data"]).arg(data);
    // What was found is remembered there.
    train.env("XDG_CACHE_HOME", cache);
    train.arg("--out").arg(out).args(args);
    train
}

#[test]
fn files_that_cannot_be_read_are_named_before_the_first_step() {
    let data = folder(24, "val", 12);
    let dir = tempdir().expect("a folder");
    let [cache, out] = ["cache", "out"].map(|name| dir.path().join(name));
    let bad = [data.path().join("val/red/3.PNG"), data.path().join("train/blue/6.jpg")];
    for path in &bad {
        let bytes = fs::read(path).expect("an image");
        fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
    }
    for args in [&["--dry-run"][..], &[], &["--resume"]] {
        let message = failure(&mut train(data.path(), &cache, &out, args), 1);
        for part in ["2 image files", "3.PNG", "6.jpg", "--skip-bad"] {
            assert!(message.contains(part), "{args:?}: no {part:?} in {message:?}");
        }
        assert!(!out.exists(), "{args:?} wrote something");
    }
    stdout(&mut train(data.path(), &cache, &out, &["--skip-bad"]));
    let skipped = fs::read_to_string(out.join("skipped.jsonl")).expect("a list");
    let mut names = Vec::new();
    for line in skipped.lines() {
        let line: Value = serde_json::from_str(line).expect(line);
        assert!(!line["reason"].as_str().expect("a reason").is_empty());
        names.push(line["path"].as_str().expect("a path").to_owned());
    }
    names.sort();
    let mut expected: Vec<_> = bad.iter().map(|path| path.display().to_string()).collect();
    expected.sort();
    assert_eq!(names, expected);
    let model = Checkpoint::load(out.join("model.safetensors")).expect("a model");
    assert_eq!((&*model.metadata["train_images"], &*model.metadata["test_images"]), ("23", "11"));
}

#[test]
fn a_step_with_too_few_images_is_refused_with_the_numbers_to_choose() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let train = |args: &[&str]| {
        let mut train = example("train_cifar");
        train.args(["--epochs", "1", "--test-images", "8", "--threads", "2", "--out"]).arg(&out);
        train.args(args);
        train
    };
    // Maps of 1x1 in the end, of the backbone, of the gater, and features under batch norm.
    let backbone = "--model imagenet-resnet18 --dense --width 0.125 --image-size 32";
    let gater = "--width 0.25 --image-size 16 --gater-depth 8 --gater-pool 4";
    let features = "--gater-depth 8 --gater-batch-norm --width 0.25";
    for network in [backbone, gater, features] {
        let of = |train_images: &str, batch: &str, more: &str| {
            let mut args: Vec<_> = network.split_whitespace().collect();
            // Pictures of the built-in set are of one size.
            args.retain(|arg| !arg.is_empty());
            args.extend(["--train-images", train_images, "--batch-size", batch]);
            args.extend(more.split_whitespace());
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            train(&args.iter().map(String::as_str).collect::<Vec<_>>())
        };
        for dry_run in ["", "--dry-run"] {
            let message = failure(&mut of("17", "8", dry_run), 1);
            for part in [
                "--batch-size 8 makes a step of 1 image, of 17",
                "choose --batch-size 7 or 9",
                "--drop-last",
            ] {
                assert!(message.contains(part), "{network}: no {part:?} in {message:?}");
            }
            let message = failure(&mut of("17", "1", dry_run), 1);
            assert!(message.contains("choose --batch-size 3"), "{message}");
            assert!(tree(dir.path()).is_empty());
        }
        stdout(&mut of("17", "8", "--drop-last --overwrite"));
        stdout(&mut of("17", "9", "--overwrite"));
        fs::remove_dir_all(&out).expect("just written");
    }
}

/// Averages that do not warm up are those of the first weights for thousands of steps.
#[test]
fn averages_of_a_short_training_classify_as_its_weights_do() {
    let data = folder(40, "val", 20);
    let dir = tempdir().expect("a folder");
    let accuracy = |args: &[&str]| {
        let out = dir.path().join("out");
        let args = [&["--epochs", "6", "--lr", "0.05", "--overwrite"], args].concat();
        stdout(&mut train(data.path(), dir.path(), &out, &args));
        metrics(&out).pop().expect("an epoch")["test_accuracy"].as_f64().expect("a number")
    };
    let own = accuracy(&[]);
    for decay in ["0.99", "0.999", "0.9999"] {
        let averaged = accuracy(&["--ema", decay]);
        assert!(averaged >= own - 0.1, "--ema {decay}: {averaged}, without {own}");
    }
}
