//! Data sets of image files, and CIFAR-100.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::{example, failure, stdout};
use gaternet::core::checkpoint::{self, Checkpoint};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Red and blue pictures of many sizes, `train` and `test` of them, in `train/` and `name/`: PNG
/// files, and among them PPM files that are called JPEG and PNG.
pub(crate) fn folder(train: u32, name: &str, test: u32) -> TempDir {
    let dir = tempdir().expect("a folder");
    for (set, count) in [("train", train), (name, test)] {
        for i in 0..count {
            let class = dir.path().join(set).join(["blue", "red"][i as usize % 2]);
            fs::create_dir_all(&class).expect("a folder");
            let shade = |x: u32, y: u32| ((x * 3 + y * 5 + i * 11) % 90) as u8;
            let pixel = |x, y| match i % 2 {
                0 => [shade(x, y), 90, 200 + shade(y, x) / 2],
                _ => [200 + shade(x, y) / 2, 90, shade(y, x)],
            };
            let (width, height) = (40 + i % 7, 36 + i % 5);
            let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y)));
            let pixels: Vec<u8> = pixels.collect();
            let name = match i {
                3 => "3.PNG".to_owned(),
                _ if i % 3 == 0 => format!("{i}.jpg"),
                _ => format!("{i}.png"),
            };
            let bytes = match i % 3 {
                0 => [format!("P6 {width} {height} 255\n").as_bytes(), &pixels].concat(),
                _ => png(width, height, &pixels),
            };
            fs::write(class.join(name), bytes).expect("a writable folder");
        }
    }
    dir
}

fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(pixels).expect("all pixels");
    drop(writer);
    bytes
}

fn train(data: &Path, out: &Path, args: &[&str]) -> Command {
    let mut command = example("train_cifar");
    command.args(["--epochs", "2", "--batch-size", "8", "--data"]).arg(data);
    if !args.contains(&"--dense") {
        command.args(["--gater-depth", "8"]);
    }
    command.arg("--out").arg(out).args(args);
    command
}

fn evaluate(model: &Path, data: &Path, args: &[&str]) -> Value {
    let mut command = example("evaluate");
    command.args(["--json", "--checkpoint"]).arg(model).arg("--data").arg(data).args(args);
    let json = stdout(&mut command);
    serde_json::from_str(&json).expect(&json)
}

#[test]
fn a_folder_of_images_trains_and_evaluates_alike_with_any_number_of_threads() {
    let data = folder(40, "val", 14);
    let out = tempdir().expect("a folder");
    let run = |name: &str, threads: &str| {
        let out = out.path().join(name);
        let args = ["--image-size", "24", "--cutout", "4", "--threads", threads];
        stdout(&mut train(data.path(), &out, &args));
        let model = Checkpoint::load(out.join("model.safetensors")).expect("just trained");
        let bytes = fs::read(out.join("model.safetensors")).expect("just trained");
        (model.metadata, bytes)
    };
    let (metadata, bytes) = run("two", "2");
    assert!(run("one", "1").1 == bytes, "the number of threads changed the model");
    for (key, value) in [
        ("data", "image-folder"),
        ("image_size", "24"),
        ("resize", "27"),
        ("mean", "[0.485, 0.456, 0.406]"),
        ("train_images", "40"),
        ("test_images", "14"),
    ] {
        assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(!metadata.contains_key("crop_padding"), "nothing was padded");

    let model = out.path().join("two/model.safetensors");
    let result = evaluate(&model, data.path(), &[]);
    assert_eq!(result["images"], 14);
    let stored: f64 = metadata["test_accuracy"].parse().expect("a number");
    assert_eq!(result["accuracy"].as_f64(), Some(stored));
    let macs = |args: &[&str]| {
        evaluate(&model, data.path(), args)["macs_plain"].as_f64().expect("a number")
    };
    assert!(macs(&["--image-size", "32", "--resize", "33"]) > 1.5 * macs(&[]));
}

#[test]
fn images_are_prepared_as_the_file_says() {
    let data = folder(8, "test", 8);
    let out = tempdir().expect("a folder");
    let args = ["--image-size", "16", "--resize", "20", "--dense"];
    stdout(&mut train(data.path(), out.path(), &args));
    let path = out.path().join("model.safetensors");
    let trained = evaluate(&path, data.path(), &[]);
    let stored = Checkpoint::load(&path).expect("just trained");
    let tensors: Vec<_> = stored.tensors.into_iter().collect();
    let loss_with = |key: &str, value: Option<&str>| {
        let mut metadata = stored.metadata.clone();
        match value {
            Some(value) => metadata.insert(key.to_owned(), value.to_owned()),
            None => metadata.remove(key),
        };
        checkpoint::save(&path, &tensors, &metadata).expect("a writable folder");
        evaluate(&path, data.path(), &[])["loss"].clone()
    };
    assert_eq!(loss_with("resize", Some("20")), trained["loss"]);
    for (key, value) in [("resize", "30"), ("mean", "[0, 0, 0.5]"), ("std", "[0.5, 0.5, 0.5]")] {
        assert_ne!(loss_with(key, Some(value)), trained["loss"], "{key} changes nothing");
    }
    let mut metadata = stored.metadata.clone();
    metadata.insert("std".to_owned(), "[0, 1, 1]".to_owned());
    checkpoint::save(&path, &tensors, &metadata).expect("a writable folder");
    let mut command = example("evaluate");
    command.arg("--checkpoint").arg(&path).arg("--data").arg(data.path());
    let message = failure(&mut command, 1);
    assert!(message.contains("std = [0.0, 1.0, 1.0]"), "{message}");
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let data = folder(8, "val", 4);
    let out = tempdir().expect("a folder");
    let out = out.path().join("out");
    let refuses = |args: &[&str], code, parts: &[&str]| {
        let message = failure(&mut train(data.path(), &out, args), code);
        for part in parts {
            assert!(message.contains(part), "{args:?}: no {part:?} in {message:?}");
        }
        assert!(!message.contains("panicked"), "{message}");
    };
    let size = ["--image-size", "16"];
    refuses(&[], 1, &["train/", "32x32 pixels, or a size to resize images to", "got 4"]);
    fs::remove_dir_all(&out).expect("begun");
    refuses(&["--image-size", "0"], 1, &["size = 0", "between 1 and 4096"]);
    refuses(&["--image-size", "16", "--resize", "8"], 1, &["resize = 8 with size = 16"]);
    refuses(&["--image-size", "16", "--cutout", "17"], 1, &["--cutout 17", "at most 16"]);
    refuses(&["--image-size", "16", "--crop-padding", "2"], 2, &["cannot be used with"]);
    refuses(&["--resize", "16"], 2, &["--image-size <PIXELS>"]);
    assert!(!out.exists());

    let broken = data.path().join("train/red/3.PNG");
    let good = fs::read(&broken).expect("a file");
    fs::write(&broken, &good[..good.len() / 2]).expect("a writable folder");
    refuses(&size, 1, &["train/red/3.PNG", "cut off after"]);
    assert!(!out.exists());
    fs::write(&broken, good).expect("a writable folder");

    fs::create_dir(data.path().join("cifar-100-binary")).expect("a folder");
    refuses(&size, 1, &["cifar-100-binary", "holds both", "move train/"]);
    fs::remove_dir(data.path().join("cifar-100-binary")).expect("a folder");
    fs::create_dir(data.path().join("val/green")).expect("a folder");
    refuses(&size, 1, &["val/green: images", "none"]);
    fs::remove_dir_all(data.path().join("val")).expect("a folder");
    refuses(&size, 1, &["val/ or test/", "neither"]);
    fs::remove_dir_all(data.path().join("train")).expect("a folder");
    refuses(
        &size,
        1,
        &["no data set in", "cifar-10-batches-bin", "train/ and val/ of image files"],
    );
    assert!(!out.exists());
}

#[test]
fn cifar_100_trains_with_its_fine_labels() {
    let data = tempdir().expect("a folder");
    let inner = data.path().join("cifar-100-binary");
    fs::create_dir(&inner).expect("a folder");
    let record = |i: usize| {
        let labels = [(i % 20) as u8, (i * 37 % 100) as u8];
        labels.into_iter().chain((0..3072).map(move |at| (at * i) as u8)).collect::<Vec<_>>()
    };
    for (name, count) in [("train.bin", 40), ("test.bin", 10)] {
        let bytes: Vec<u8> = (0..count).flat_map(record).collect();
        fs::write(inner.join(name), bytes).expect("a writable folder");
    }
    let out = tempdir().expect("a folder");
    stdout(&mut train(data.path(), out.path(), &["--dense"]));
    let path = out.path().join("model.safetensors");
    let stored = Checkpoint::load(&path).expect("just trained").metadata;
    assert_eq!(stored["data"], "cifar100");
    assert!(stored["config"].contains("\"classes\":100"), "{}", stored["config"]);
    let result = evaluate(&path, data.path(), &[]);
    assert_eq!((&result["data"], &result["images"]), (&"cifar100".into(), &10.into()));
    // In-memory images can be resized too.
    stdout(&mut train(data.path(), out.path(), &["--dense", "--image-size", "16", "--overwrite"]));
    assert_eq!(evaluate(&path, data.path(), &[])["data"], "cifar100");
}
