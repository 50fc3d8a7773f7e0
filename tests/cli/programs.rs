//! Starting the examples as a user does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program of an example, which `cargo test` builds beside the tests.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "{}: run `cargo build --examples --features onnx`",
        program.display()
    );
    Command::new(program)
}

/// Standard output of a run that must succeed.
pub(crate) fn stdout(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stderr}");
    String::from_utf8(stdout).expect("UTF-8")
}

/// Standard error of a run that must fail with exit code `code`.
pub(crate) fn failure(command: &mut Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(code), "{command:?}:\n{stderr}");
    stderr
}

/// `train_cifar` for one epoch of a small gater on a few built-in images. Half of the gates are
/// open.
pub(crate) fn tiny_training(out: &Path) -> Command {
    let mut command = tiny(out);
    command.args(["--gater-depth", "8"]);
    command
}

/// `train_cifar --dense` for one epoch on a few built-in images.
pub(crate) fn tiny_plain_training(out: &Path) -> Command {
    let mut command = tiny(out);
    command.arg("--dense");
    command
}

fn tiny(out: &Path) -> Command {
    let mut command = example("train_cifar");
    command.args(["--epochs", "1", "--batch-size", "16", "--threads", "2"]);
    command.args(["--train-images", "40", "--test-images", "20", "--out"]).arg(out);
    command
}

/// The lines of `metrics.jsonl`.
pub(crate) fn metrics(out: &Path) -> Vec<BTreeMap<String, Value>> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Every path under `dir`, sorted.
pub(crate) fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            paths.extend(tree(&path));
        }
        paths.push(path);
    }
    paths.sort();
    paths
}
