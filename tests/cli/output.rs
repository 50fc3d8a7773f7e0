//! Output that nobody reads, or that cannot be written.

use std::fs::{self, File, OpenOptions};
use std::io::pipe;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::programs::{example, failure, stdout, tiny_training};
use gaternet_kernels::test_support::skipped;
use tempfile::tempdir;

/// Runs of all kinds of output: tables, lines of JSON, `--dry-run`, a file's name.
fn programs(dir: &Path) -> Vec<Command> {
    let model = dir.join("run/model.safetensors");
    if !model.exists() {
        stdout(&mut tiny_training(&dir.join("run")));
    }
    let rows = dir.join("rows.jsonl");
    fs::write(&rows, r#"{"accuracy": 0.5, "macs": 1.0, "images_per_second": 1.0}"#).expect("rows");
    let with = |name: &str, args: &[&str]| {
        let mut program = example(name);
        program.args(args);
        program
    };
    let one_thread = ["--threads", "1"];
    let on_model = |name: &str, args: &[&str]| {
        let mut program = with(name, &one_thread);
        program.args(args).arg("--checkpoint").arg(&model);
        program
    };
    let to = |mut program: Command, file: &str| {
        program.arg("--out").arg(dir.join(file));
        program
    };
    let mut dry = tiny_training(&dir.join("dry"));
    dry.arg("--dry-run");
    let mut trained = tiny_training(&dir.join("run"));
    trained.arg("--overwrite");
    let mut sweep = with("plot_sweep", &[]);
    sweep.arg(&rows);
    vec![
        with("describe", &["--gated"]),
        with("describe", &["--json"]),
        dry,
        trained,
        on_model("evaluate", &["--per-class"]),
        on_model("evaluate", &["--json"]),
        to(on_model("export", &[]), "model.onnx"),
        with("conv_throughput", &["--filter", "64x16@32k1", "--threads", "1", "--run", "0"]),
        with("model_throughput", &["--batch", "1", "--threads", "1", "--run", "1"]),
        to(with("plot_placement", &[]), "placement.svg"),
        to(sweep, "sweep.svg"),
    ]
}

#[test]
fn a_reader_that_left_ends_a_program_quietly() {
    let dir = tempdir().expect("a folder");
    for mut program in programs(dir.path()) {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let output = program.stdout(writer).stderr(Stdio::piped()).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program:?}: {}\n{stderr}", output.status);
        for word in ["panicked", "error", "pipe"] {
            assert!(!stderr.contains(word), "{program:?}:\n{stderr}");
        }
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    if !Path::new("/dev/full").exists() {
        skipped("dev-full", "there is no /dev/full");
        return;
    }
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let dir = tempdir().expect("a folder");
    for mut program in programs(dir.path()) {
        let output = program.stdout(full()).stderr(Stdio::piped()).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program:?}:\n{stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        let part = "error: cannot write to standard output: ";
        assert!(last.starts_with(part), "{program:?}:\n{stderr}");
    }
}

#[test]
fn a_sweep_is_written_whether_or_not_its_table_is_read() {
    let dir = tempdir().expect("a folder");
    stdout(&mut tiny_training(&dir.path().join("run")));
    let out = dir.path().join("sweep.jsonl");
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut evaluate = example("evaluate");
    evaluate.arg("--checkpoint").arg(dir.path().join("run/model.safetensors"));
    evaluate.args(["--threads", "1", "--calibration", "20"]).arg("--sweep").arg(&out);
    assert!(evaluate.stdout(writer).status().expect("it starts").success());
    assert_eq!(fs::read_to_string(out).expect("the file").lines().count(), 10);
}

#[test]
fn messages_that_nobody_reads_do_not_end_a_run() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("run");
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let status = tiny_training(&out).stderr(writer).stdout(Stdio::null()).status();
    assert!(status.expect("it starts").success());
    assert!(out.join("model.safetensors").exists());
    // Neither does an error that cannot be told become a panic.
    let full: Stdio = match OpenOptions::new().write(true).open("/dev/full") {
        Ok(file) => file.into(),
        Err(_) => File::open(dir.path().join("run/metrics.jsonl")).expect("read-only").into(),
    };
    let status = tiny_training(&out).stderr(full).status().expect("it starts");
    assert_eq!(status.code(), Some(1), "{} exists", out.display());
    failure(&mut tiny_training(&out), 1);
}
