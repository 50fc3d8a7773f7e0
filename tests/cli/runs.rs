//! Runs that are interrupted, killed, disturbed or damaged, and go on.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::programs::{failure, metrics, stdout, tiny_training, tree};
use gaternet::core::checkpoint::{self, Checkpoint};
use tempfile::tempdir;

/// Long enough that a signal finds it at work.
fn long(out: &Path) -> Command {
    let mut train = tiny_training(out);
    train.args(["--epochs", "25", "--ema", "0.9"]);
    train
}

/// Waits until `done`, a minute at most.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited for {what}");
        sleep(Duration::from_millis(5));
    }
}

/// A run in the background that has done an epoch.
fn started(out: &Path) -> Child {
    let mut train = long(out);
    train.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = train.spawn().expect("the program starts");
    let log = out.join("metrics.jsonl");
    wait_for("an epoch", || fs::metadata(&log).is_ok_and(|file| file.len() > 0));
    child
}

fn names(out: &Path) -> Vec<String> {
    let name = |path: &std::path::PathBuf| {
        path.file_name().expect("a name").to_string_lossy().into_owned()
    };
    tree(out).iter().map(name).collect()
}

fn resume(out: &Path, args: &[&str]) -> Command {
    let mut train = crate::programs::example("train_cifar");
    train.args(["--threads", "2", "--resume", "--out"]).arg(out).args(args);
    train
}

#[cfg(unix)]
#[test]
fn a_signal_saves_the_steps_that_are_done_and_the_end_is_that_of_a_whole_run() {
    let dir = tempdir().expect("a folder");
    let (whole, out) = (dir.path().join("whole"), dir.path().join("parts"));
    stdout(&mut long(&whole));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let child = match signal {
            "INT" => started(&out),
            _ => {
                let mut train = resume(&out, &[]);
                let child = train.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
                let (before, log) = (metrics(&out).len(), out.join("metrics.jsonl"));
                wait_for("one more epoch", || {
                    fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > before)
                });
                child.expect("the program starts")
            }
        };
        let kill = ["-s", signal, &child.id().to_string()].map(str::to_owned);
        assert!(Command::new("kill").args(kill).status().expect("kill").success());
        let Output { status, stderr, .. } = child.wait_with_output().expect("an end");
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("saved after step") && stderr.contains("--resume"), "{stderr}");
        assert!(!stderr.contains("error:"), "{stderr}");
        assert_eq!(names(&out), ["metrics.jsonl", "model.safetensors", "state.safetensors"]);
    }
    stdout(&mut resume(&out, &[]));
    assert_eq!(names(&out), names(&whole));
    let [a, b] = [&whole, &out].map(|out| fs::read(out.join("model.safetensors")).ok());
    assert!(a.is_some() && a == b, "the interruptions changed the model");
}

#[test]
fn a_folder_is_one_process_s_and_a_killed_one_leaves_nothing() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let mut child = started(&out);
    let in_use = format!("is in use by process {}", child.id());
    for (args, part) in
        [(&[][..], "exists"), (&["--overwrite"], &*in_use), (&["--resume"], &*in_use)]
    {
        let message = failure(long(&out).args(args), 1);
        assert!(message.contains(part), "{args:?}: {message}");
    }
    child.kill().expect("it runs");
    child.wait().expect("an end");
    fs::write(out.join(".checkpoint-killed.tmp"), "half of a file").expect("written");
    stdout(&mut resume(&out, &[]));
    assert_eq!(names(&out), ["metrics.jsonl", "model.safetensors"]);
}

#[test]
fn a_run_that_fails_before_its_first_result_does_not_block_the_next() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let target = ["--placement", "all", "--gater-pool", "4", "--gater-width", "0.25"];
    let target = [&target[..], &["--target-latency", "0.9", "--latency-batch", "8"]].concat();
    let message = failure(tiny_training(&out).args(&target).args(["--lr", "1e38"]), 1);
    assert!(message.contains("no model was saved"), "{message}");
    stdout(&mut tiny_training(&out));
    assert_eq!(names(&out), ["metrics.jsonl", "model.safetensors"]);
}

#[test]
fn numbers_that_are_not_finite_end_a_run_at_their_step() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    stdout(tiny_training(&out).args(["--epochs", "2", "--stop-after", "1"]));
    let before = fs::read(out.join("state.safetensors")).expect("a state");
    // The weights that the next step starts from, so large that it overflows.
    let mut state = Checkpoint::load(out.join("state.safetensors")).expect("a state");
    let large = gaternet::core::Tensor::full([16, 3, 3, 3], 1e37).expect("small");
    let weight = "model.backbone.conv.weight".to_owned();
    state.tensors.insert(weight, checkpoint::TensorValue::F32(large));
    let tensors: Vec<_> = state.tensors.into_iter().collect();
    checkpoint::save(out.join("state.safetensors"), &tensors, &state.metadata).expect("saved");
    let message = failure(&mut resume(&out, &[]), 1);
    let kept = format!("{} is of epoch 1", out.join("model.safetensors").display());
    for part in ["epoch 2 of the training, step 4 of 6", "backbone.", "--lr", &kept] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert_eq!(metrics(&out).len(), 1);
    fs::write(out.join("state.safetensors"), before).expect("written");
    stdout(&mut resume(&out, &[]));
}

#[test]
fn a_run_knows_its_options() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let options = ["--epochs", "2", "--lambda", "0.1", "--stop-after", "1"];
    stdout(tiny_training(&out).args(options));
    for (args, parts) in [
        (&["--lambda", "0.2"][..], &["--lambda 0.1, not 0.2"][..]),
        (&["--lr", "0.3"], &["learning_rate = 0.2, this one has 0.3"]),
        (&["--gater-depth", "14"], &["--gater-depth 8, not 14"]),
        (&["--drop-last"], &["without --drop-last"]),
        (&["--epochs", "0"], &["--epochs 0"]),
    ] {
        let message = failure(&mut resume(&out, args), 1);
        for part in parts {
            assert!(message.contains(part), "{args:?}: no {part:?} in {message:?}");
        }
    }
    // What is the same may be said again.
    let table = stdout(&mut resume(&out, &["--lambda", "0.10", "--batch-size", "16"]));
    assert!(table.contains("test accuracy"), "{table}");
    assert_eq!(metrics(&out).len(), 2);
    // A complete run goes on beyond its end, and then ends there.
    for epochs in 3..=4 {
        stdout(&mut resume(&out, &["--epochs", &epochs.to_string()]));
        assert_eq!(metrics(&out).len(), epochs);
    }
    let model = Checkpoint::load(out.join("model.safetensors")).expect("a model");
    assert_eq!(model.metadata["epochs"], "4");
    stdout(&mut resume(&out, &[]));
    assert_eq!(metrics(&out).len(), 4);
    let message = failure(&mut resume(&out, &["--epochs", "3"]), 1);
    assert!(message.contains("epochs = 4, this one has 3"), "{message}");
}

#[test]
fn files_that_are_not_as_they_were_written_are_named() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    stdout(tiny_training(&out).args(["--epochs", "3", "--stop-after", "2"]));
    let (state, log) = (out.join("state.safetensors"), out.join("metrics.jsonl"));
    let [whole, lines] = [&state, &log].map(|path| fs::read(path).expect("there"));
    let refused = |parts: &[&str]| {
        let message = failure(&mut resume(&out, &[]), 1);
        for part in parts {
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
        assert!(!message.contains("panicked"), "{message}");
        fs::write(&state, &whole).expect("written");
        fs::write(&log, &lines).expect("written");
    };
    let mut flipped = whole.clone();
    let at = flipped.len() - 1000;
    flipped[at] ^= 4;
    fs::write(&state, &flipped).expect("written");
    refused(&["state.safetensors", "tensor"]);

    let stored = Checkpoint::load(&state).expect("a state");
    let renamed = |name: &str, other: Option<&str>| {
        let mut tensors = stored.tensors.clone();
        let value = tensors.remove(name).expect(name);
        if let Some(other) = other {
            tensors.insert(other.to_owned(), value);
        }
        let tensors: Vec<_> = tensors.into_iter().collect();
        checkpoint::save(&state, &tensors, &stored.metadata).expect("saved");
    };
    let velocity = "velocity.backbone.conv.weight";
    renamed(velocity, None);
    refused(&["velocity.backbone.conv.weight is missing"]);
    renamed(velocity, Some("velocity.backbone.nowhere"));
    refused(&["velocity.backbone.conv.weight is missing"]);
    renamed("velocity.gater.fnn.fc.0.bias", Some("velocity.nowhere"));
    refused(&["velocity.gater.fnn.fc.0.bias is missing"]);
    renamed(velocity, Some("veloсity"));
    refused(&["not a tensor of a run's state"]);
    renamed("model.backbone.conv.weight", Some("model.backbone.konv.weight"));
    refused(&["backbone.konv.weight"]);

    let text = String::from_utf8(lines.clone()).expect("UTF-8");
    let swapped: Vec<_> = text.lines().rev().map(|line| format!("{line}\n")).collect();
    fs::write(&log, swapped.concat()).expect("written");
    refused(&["metrics.jsonl", "line 1 is of epoch 2"]);
    stdout(&mut resume(&out, &[]));
}

#[test]
fn the_default_folder_is_a_new_one_each_time() {
    let dir = tempdir().expect("a folder");
    let train = |args: &[&str]| {
        let mut train = crate::programs::example("train_cifar");
        train.args(["--epochs", "1", "--batch-size", "16", "--train-images", "32"]);
        train.args(["--test-images", "16", "--dense", "--width", "0.25", "--threads", "1"]);
        train.args(args).current_dir(dir.path());
        train
    };
    stdout(&mut train(&[]));
    stdout(train(&["--epochs", "2", "--stop-after"]).arg("1"));
    let run = |name: &str| dir.path().join("runs").join(name);
    assert!(run("resnet20-dense-seed0-2").join("state.safetensors").exists());
    // The last one goes on.
    let mut last = crate::programs::example("train_cifar");
    stdout(last.args(["--dense", "--resume"]).current_dir(dir.path()));
    assert_eq!(metrics(&run("resnet20-dense-seed0-2")).len(), 2);
    assert_eq!(metrics(&run("resnet20-dense-seed0")).len(), 1);
}

#[test]
fn a_gated_network_and_the_plain_one_are_compared() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let table = stdout(tiny_training(&out).arg("--compare"));
    for part in ["plain", "gated", "images/s of the plans", "next:", "evaluate -- --checkpoint"] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
    assert_eq!(metrics(&out.join("plain"))[0]["macs_ratio"], 1.0);
    // The plain run is the one that a user gets alone.
    let alone = dir.path().join("alone");
    stdout(&mut crate::programs::tiny_plain_training(&alone));
    let [a, b] = [out.join("plain"), alone]
        .map(|out| Checkpoint::load(out.join("model.safetensors")).expect("a model").tensors);
    let text = |tensors| format!("{tensors:?}");
    assert_eq!(text(a), text(b));
    let again = stdout(&mut resume(&out, &[]));
    assert!(again.contains("images/s of the plans"), "{again}");
}
