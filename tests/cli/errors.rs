//! Bad input: a message that names what is wrong, and nothing written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::programs::{example, failure, stdout, tiny_plain_training, tiny_training, tree};
use tempfile::{TempDir, tempdir};

const RECORD: usize = 1 + 3072;

/// A CIFAR-10 folder of `records` good images per file, with room for `out` beside it.
fn cifar(records: usize) -> (TempDir, PathBuf) {
    let dir = tempdir().expect("a folder");
    let data = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&data).expect("a folder");
    let batches = (1..=5).map(|i| format!("data_batch_{i}.bin"));
    for name in batches.chain(["test_batch.bin".to_owned()]) {
        let image = |i: usize| (0..RECORD).map(move |at| if at == 0 { i % 10 } else { at } as u8);
        fs::write(data.join(name), (0..records).flat_map(image).collect::<Vec<_>>()).expect("file");
    }
    (dir, data)
}

/// Fails with exit code 1, writes nothing into `dir`, and names all of `parts`.
fn refuses(dir: &Path, args: &[&str], parts: &[&str]) {
    let before = tree(dir);
    let mut train = example("train_cifar");
    train.args(["--threads", "1", "--out"]).arg(dir.join("out")).args(args);
    let message = failure(&mut train, 1);
    for part in parts {
        assert!(message.contains(part), "{args:?}: no {part:?} in {message:?}");
    }
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(tree(dir), before, "{args:?} wrote something");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn good_files_train() {
    let (dir, _) = cifar(4);
    let mut train = example("train_cifar");
    train.args(["--epochs", "1", "--batch-size", "20", "--dense", "--data"]).arg(dir.path());
    stdout(train.arg("--out").arg(dir.path().join("out")));
    let mut evaluate = example("evaluate");
    evaluate.arg("--checkpoint").arg(dir.path().join("out/model.safetensors"));
    let message = failure(&mut evaluate, 1);
    assert!(message.contains("trained on cifar10") && message.contains("--data"), "{message}");
    let table = stdout(evaluate.arg("--data").arg(dir.path()));
    assert!(table.contains("cifar10, 4 test images"), "{table}");
}

#[test]
fn values_out_of_range() {
    let dir = tempdir().expect("a folder");
    let cases: [(&[&str], &[&str]); 61] = [
        (&["--epochs", "0"], &["--epochs 0", "at least 1"]),
        (&["--gater-pool", "3"], &["gater.pool = 3", "1, 2 or 4"]),
        (&["--gater-width", "0"], &["gater.width = 0", "between 0.01 and 16"]),
        (&["--width", "nan"], &["width = NaN", "between 0.01 and 16"]),
        (&["--label-smoothing", "2"], &["--label-smoothing 2", "between 0 and 1"]),
        (&["--batch-size", "0"], &["--batch-size 0", "at least 1"]),
        (&["--train-images", "100", "--batch-size", "101"], &["batch_size = 101 of 100 images"]),
        (&["--test-images", "0"], &["--test-images 0"]),
        (&["--train-images", "1000000000000"], &["train-images = 1000000000000", "1000000"]),
        (&["--threads", "0"], &["--threads 0"]),
        (&["--lr", "nan"], &["--lr NaN", "finite"]),
        (&["--lambda=-0.3"], &["--lambda -0.3: ", "not negative"]),
        (&["--density", "0.5"], &["--density", "the estimator sem-hash has no such setting"]),
        (&["--tau", "1"], &["--tau", "the estimator sem-hash has no such setting"]),
        (&["--estimator", "top-k", "--soft-gates"], &["--soft-gates", "top-k"]),
        (&["--estimator", "top-k", "--target-macs", "0.5"], &["TargetMacs", "TopK", "density"]),
        (&["--estimator", "top-k", "--density", "0"], &["density = 0", "above 0"]),
        (&["--estimator", "gumbel-sigmoid", "--tau", "0"], &["tau.first = 0", "positive"]),
        (&["--target-rate", "1.3"], &["target_rate = 1.3: ", "0 to 1"]),
        (&["--target-macs=-0.3"], &["target_macs = -0.3: ", "positive"]),
        (
            &["--target-macs", "0.5"],
            &["target_macs = 0.5 (all gates closed cost 1.", "cheaper gater"],
        ),
        (&["--target-latency", "0"], &["target_latency = 0", "positive"]),
        (
            &["--target-latency", "0.5", "--latency-batch", "0"],
            &["--latency-batch 0", "at least 1"],
        ),
        (
            &["--target-latency", "0.01", "--latency-batch", "1", "--width", "0.25"],
            &["target_latency = 0.01 (all gates closed take", "cheaper gater"],
        ),
        (&["--batch-shaping=-1"], &["--batch-shaping -1", "not negative"]),
        (&["--batch-shaping", "1", "--beta", "0,1"], &["beta a = 0", "above 0"]),
        (&["--batch-shaping", "1", "--beta", "1"], &["--beta", "two numbers"]),
        (
            &["--gater-batch-norm", "--train-images", "101", "--batch-size", "100"],
            &["--batch-size 100 makes a step of 1 image, of 101", "choose --batch-size 99 or 101"],
        ),
        (
            &["--gater-batch-norm", "--train-images", "4", "--batch-size", "1"],
            &["--batch-size 1 makes a step of 1 image", "choose --batch-size 2"],
        ),
        (&["--target-weight", "1"], &["--target-weight", "no --target-rate, -macs or -latency"]),
        (&["--target-rate", "0.5", "--target-weight=-1"], &["--target-weight -1", "not negative"]),
        (
            &["--estimator", "top-k", "--target-rate", "0.3"],
            &["TargetRate { target: 0.3 }", "TopK"],
        ),
        (&["--filters-per-gate", "0"], &["filters_per_gate = 0", "between 1 and 65536"]),
        (&["--min-active-fraction", "1.3"], &["min_active.fraction = 1.3: ", "0 to 1"]),
        (&["--estimator", "top-k", "--min-active", "1"], &["min_active = Gates(1)", "TopK"]),
        (&["--gate", "stage9.*=on"], &["gate override = stage9.* (of stage1.block1.conv1,"]),
        (&["--gate", "*=none"], &["placement = BlockOutput with", "must gate a convolution"]),
        (
            &["--target-rate", "0.2", "--min-active-fraction", "0.5"],
            &["target_rate = 0.2 (with only min-active Fraction(0.5) open, 0.500)"],
        ),
        (
            &["--zero-init", "--model", "preact-resnet110"],
            &["zero_init = true", "must end in a batch norm"],
        ),
        (&["--gater-depth", "21"], &["gater.depth = 21", "6n + 2"]),
        (&["--gate-bias", "inf"], &["gate_bias = inf", "finite"]),
        (&["--bottleneck", "0"], &["bottleneck = 0"]),
        (&["--gater-lr=-1"], &["--gater-lr -1", "not negative"]),
        (&["--gater-lr", "1", "--lr", "0"], &["--gater-lr 1 with --lr 0"]),
        (&["--gater-weight-decay", "nan"], &["--gater-weight-decay NaN", "finite"]),
        (&["--open-epochs", "5"], &["open_epochs = 5, of 5 epochs"]),
        (&["--freeze-backbone", "6"], &["frozen_backbone = 6, of 5 epochs"]),
        (&["--freeze-gater", "1", "--freeze-backbone", "1"], &["must not rest in one epoch"]),
        (&["--cutout", "33"], &["--cutout 33", "at most 32"]),
        (&["--mixup=-1"], &["mixup alpha = -1", "not negative"]),
        (&["--ema", "1"], &["--ema 1", "below 1"]),
        (&["--clip-grad-norm=-1"], &["--clip-grad-norm -1", "not negative"]),
        (&["--milestones", "0.5"], &["--milestones", "the schedule one-cycle has no such setting"]),
        (&["--schedule", "cosine", "--gamma", "0.5"], &["--gamma", "the schedule cosine has no"]),
        (&["--warmup", "0.1"], &["--warmup", "the schedule one-cycle has no such setting"]),
        (
            &["--schedule", "step", "--milestones", "0.5,0.2"],
            &["milestones = [0.5, 0.2]", "ascending"],
        ),
        (&["--repeat", "0"], &["--repeat 0", "at least 1"]),
        (&["--repeat", "1001"], &["--repeat 1001", "at most 1000"]),
        (&["--stop-after", "0"], &["--stop-after 0", "at least 1"]),
        (&["--gater-checkpoint", "nowhere"], &["cannot read nowhere"]),
        (&["--backbone-checkpoint", "nowhere"], &["cannot read nowhere"]),
    ];
    for (args, parts) in cases {
        refuses(dir.path(), args, parts);
    }
}

#[test]
fn data_files() {
    let (dir, data) = cifar(4);
    let args = ["--data", text(dir.path()), "--batch-size", "4"];
    let batch = data.join("data_batch_3.bin");
    let good = fs::read(&batch).expect("file");

    fs::write(&batch, &good[..good.len() - 1]).expect("written");
    refuses(dir.path(), &args, &[text(&batch), "12291"]);

    fs::write(&batch, vec![0; RECORD * 10_001]).expect("written");
    refuses(dir.path(), &args, &[text(&batch), "10000"]);

    let mut bad = good.clone();
    bad[2 * RECORD] = 10;
    fs::write(&batch, &bad).expect("written");
    refuses(dir.path(), &args, &[text(&batch), "label of record 2", "0 to 9", "10"]);

    fs::remove_file(&batch).expect("removed");
    refuses(dir.path(), &args, &[text(&batch)]);

    let nowhere = dir.path().join("nowhere");
    refuses(dir.path(), &["--data", text(&nowhere)], &[text(&nowhere), "no such folder"]);
}

#[test]
fn folders_that_cannot_be_written() {
    let dir = tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "kept").expect("written");
    let out = file.join("out");
    refuses(dir.path(), &["--out", text(&out)], &["cannot create", text(&out)]);
    assert_eq!(fs::read_to_string(&file).expect("still there"), "kept");
}

#[test]
fn configuration_files() {
    let dir = tempdir().expect("a folder");
    let path = dir.path().join("recipe.toml");
    for (contents, part) in [
        ("batchsize = 64", "unknown key `batchsize`; the nearest is `batch-size`"),
        ("gater_lr = 0.1", "unknown key `gater_lr`; the nearest is `gater-lr`"),
        ("milestones = [\"half\"]", "half"),
        ("dense = true\nlambda = 0.1", "cannot be used with"),
        ("config = \"other.toml\"", "unknown key `config`: a file takes no options from another"),
        ("[model]\ndepth = 20", "model"),
        ("dense = 1", "`dense = 1`: expected true or false"),
        ("epochs = [3]", "`epochs = [3]`: expected a whole number"),
        ("epochs = \"many\"", "`epochs = \"many\"`: expected a whole number"),
        ("placement = \"both\"", "`placement = \"both\"`: expected one of"),
        ("epochs = ", "line 1"),
    ] {
        fs::write(&path, contents).expect("written");
        refuses(dir.path(), &["--config", text(&path)], &[text(&path), part]);
    }
    let nowhere = dir.path().join("nowhere.toml");
    refuses(dir.path(), &["--config", text(&nowhere)], &[text(&nowhere)]);
}

#[test]
fn options_that_the_command_line_cannot_have() {
    let dir = tempdir().expect("a folder");
    let mut train = example("train_cifar");
    train.args(["--data", "somewhere", "--train-images", "10"]).current_dir(dir.path());
    let message = failure(&mut train, 2);
    assert!(message.contains("cannot be used with '--train-images <IMAGES>'"), "{message}");
    for (option, value) in
        [("--pretrain-gater", "1"), ("--gater-lr", "0.1"), ("--placement", "all")]
    {
        let message = failure(tiny_plain_training(dir.path()).args([option, value]), 2);
        assert!(message.contains(option) && message.contains("'--dense'"), "{message}");
    }
    let both = ["--pretrain-gater", "1", "--gater-checkpoint", "gater.safetensors"];
    let message = failure(tiny_training(dir.path()).args(both), 2);
    assert!(message.contains("cannot be used with"), "{message}");
    let message = failure(tiny_training(dir.path()).args(["--model", "resnet21"]), 2);
    assert!(message.contains("resnet21") && message.contains("resnet110"), "{message}");
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn checkpoints() {
    let dir = tempdir().expect("a folder");
    let path = dir.path().join("model.safetensors");
    let evaluate = || {
        let mut evaluate = example("evaluate");
        evaluate.arg("--checkpoint").arg(&path);
        evaluate
    };
    let message = failure(&mut evaluate(), 1);
    assert!(message.contains(text(&path)), "{message}");

    stdout(&mut tiny_plain_training(dir.path()));
    let good = fs::read(&path).expect("file");
    fs::write(&path, &good[..good.len() - 1]).expect("written");
    let message = failure(&mut evaluate(), 1);
    assert!(message.contains(text(&path)), "{message}");

    fs::write(&path, &good).expect("written");
    let message = failure(evaluate().args(["--batch-size", "0"]), 1);
    assert!(message.contains("--batch-size 0"), "{message}");
    let (cifar, _) = cifar(1);
    let message = failure(evaluate().arg("--data").arg(cifar.path()), 1);
    assert!(message.contains("\"disc\"") && message.contains("the model's only"), "{message}");

    // The folder of a run stands for its model.
    let of_folder = stdout(example("evaluate").arg("--checkpoint").arg(dir.path()));
    let accuracy =
        |table: &str| table.lines().find(|line| line.contains("accuracy")).map(str::to_owned);
    assert_eq!(accuracy(&of_folder), accuracy(&stdout(&mut evaluate())));
    assert!(accuracy(&of_folder).is_some(), "{of_folder}");
}

#[test]
fn files_that_are_no_checkpoints() {
    let dir = tempdir().expect("a folder");
    for (name, start, part) in [
        ("notes.txt", &b"The model is in the other folder.\n"[..], "it is text"),
        ("model.pth", b"PK\x03\x04\x00\x00", "tools/convert_checkpoint.py"),
        ("old.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "tools/convert_checkpoint.py"),
        ("model.onnx", b"\x08\x08\x12\x08gaternet", "an ONNX model"),
        ("page.safetensors", b"<!DOCTYPE html><html></html>", "a web page"),
        ("none.safetensors", b"", "it is empty"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, start).expect("written");
        for (program, more) in [("evaluate", None), ("export", Some(["--out", "model.onnx"]))] {
            let mut program = example(program);
            program.current_dir(dir.path()).arg("--checkpoint").arg(&path);
            let message = failure(program.args(more.into_iter().flatten()), 1);
            let sentence = format!("{} is not a safetensors file: ", path.display());
            assert!(message.contains(&sentence) && message.contains(part), "{message}");
        }
    }
}
