//! `evaluate` beyond its table: costs by image, budgets, sweeps, inactive layers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::{example, failure, stdout, tiny_plain_training, tiny_training, tree};
use gaternet::models::GatedResNet;
use serde_json::Value;
use tempfile::tempdir;

/// A gated network, all of whose blocks have gates.
fn gated(dir: &Path) -> PathBuf {
    stdout(tiny_training(dir).args(["--placement", "all"]));
    dir.join("model.safetensors")
}

fn evaluate(checkpoint: &Path, args: &[&str]) -> Command {
    let mut evaluate = example("evaluate");
    evaluate.args(["--threads", "2", "--checkpoint"]).arg(checkpoint).args(args);
    evaluate
}

fn json(checkpoint: &Path, args: &[&str]) -> Value {
    let text = stdout(evaluate(checkpoint, args).arg("--json"));
    serde_json::from_str(&text).expect("one object")
}

fn number(of: &Value, field: &str) -> f64 {
    of[field].as_f64().unwrap_or_else(|| panic!("no number {field} in {of}"))
}

#[test]
fn what_an_image_costs_is_shown_for_all_and_for_each_class() {
    let dir = tempdir().expect("a folder");
    let checkpoint = gated(&dir.path().join("run"));
    let all = json(&checkpoint, &["--per-class"]);
    let [mean, sd, min, max] =
        ["macs_gated", "macs_sd", "macs_min", "macs_max"].map(|field| number(&all, field));
    assert!(min < mean && mean < max && sd > 0.0 && sd < max - min, "{all}");
    let classes = all["classes"].as_array().expect("a list");
    assert_eq!(classes.len(), 10);
    let sum = |of: &dyn Fn(&Value) -> f64| classes.iter().map(of).sum::<f64>();
    assert_eq!(sum(&|class| number(class, "images")), 20.0);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.abs();
    let weighted =
        |field: &str| sum(&|class| number(class, "images") * number(class, field)) / 20.0;
    assert!(close(weighted("mean"), mean), "{all}");
    assert!(close(weighted("accuracy"), number(&all, "accuracy")), "{all}");
    let most = classes.iter().map(|class| number(class, "max")).fold(0.0, f64::max);
    assert_eq!(most, max);
    let table = stdout(&mut evaluate(&checkpoint, &["--per-class"]));
    assert_eq!(table.lines().skip_while(|line| !line.starts_with("class ")).count(), 11, "{table}");
}

#[test]
fn a_budget_moves_the_threshold_and_can_be_saved() {
    let dir = tempdir().expect("a folder");
    let checkpoint = gated(&dir.path().join("run"));
    let saved = dir.path().join("saved.safetensors");
    let before = fs::read(&checkpoint).expect("a file");
    let ratio = number(&json(&checkpoint, &[]), "macs_ratio");
    for (budget, file) in [(ratio - 0.1, Some(&saved)), (ratio + 0.1, None)] {
        let budget_text = budget.to_string();
        let mut args = vec!["--budget", &budget_text, "--calibration", "40"];
        if let Some(file) = file {
            args.extend(["--save", file.to_str().expect("UTF-8")]);
        }
        let got = json(&checkpoint, &args);
        // Other images than those of the test set.
        let error = number(&got, "macs_ratio") - budget;
        assert!(error.abs() < 0.05, "{budget}: {got}");
        assert_eq!(number(&got, "gate_threshold") > 0.0, budget < ratio, "{got}");
        if let Some(file) = file {
            let again = json(file, &[]);
            for field in ["macs_ratio", "accuracy", "loss", "gate_density"] {
                assert_eq!(again[field], got[field], "{field} of the saved model");
            }
        }
    }
    assert_eq!(fs::read(&checkpoint).expect("a file"), before, "the model was changed");
    let message = failure(&mut evaluate(&checkpoint, &["--budget", "0.1"]), 1);
    assert!(message.contains("budget = 0.1 (with every gate closed"), "{message}");
    let message = failure(&mut evaluate(&checkpoint, &["--budget", "1", "--calibration", "0"]), 1);
    assert!(message.contains("--calibration 0"), "{message}");
    failure(&mut evaluate(&checkpoint, &["--calibration", "9"]), 2);
    failure(&mut evaluate(&checkpoint, &["--save", "x"]), 2);
}

#[test]
fn a_sweep_goes_from_closed_to_open_and_is_drawn() {
    let dir = tempdir().expect("a folder");
    let checkpoint = gated(&dir.path().join("run"));
    let sweep = dir.path().join("ours & others.jsonl");
    let args = ["--calibration", "40", "--sweep", sweep.to_str().expect("UTF-8")];
    let table = stdout(&mut evaluate(&checkpoint, &args));
    let text = fs::read_to_string(&sweep).expect("lines");
    let rows: Vec<BTreeMap<String, Value>> =
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!((rows.len(), table.lines().count()), (10, 11), "{table}");
    let density = |row: usize| rows[row]["gate_density"].as_f64().expect("a fraction");
    assert_eq!(rows[0]["threshold"], 0.0);
    assert!(density(1) < 0.01 && density(9) == 1.0, "{text}");
    assert!((1..9).all(|row| density(row) <= density(row + 1)), "{text}");
    assert!(density(0) > density(1) && density(0) < density(9), "{text}");

    let plain = dir.path().join("plain");
    stdout(&mut tiny_plain_training(&plain));
    let (model, point) = (plain.join("model.safetensors"), dir.path().join("plain.jsonl"));
    stdout(evaluate(&model, &["--sweep"]).arg(&point));
    assert_eq!(fs::read_to_string(&point).expect("a line").lines().count(), 1);

    let out = dir.path().join("sweep.svg");
    stdout(example("plot_sweep").args([&sweep, &point]).arg("--out").arg(&out));
    let svg = fs::read_to_string(&out).expect("a drawing");
    assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (4, 22));
    assert!(svg.contains("ours &amp; others") && !svg.contains("NaN"), "{svg}");

    let accuracy = |row: usize| 100.0 * rows[row]["accuracy"].as_f64().expect("a fraction");
    let best = (0..10).map(accuracy).fold(0.0, f64::max);
    let from = format!("{}", best - 1e-9);
    stdout(example("plot_sweep").arg(&sweep).args(["--from", &from]).arg("--out").arg(&out));
    let svg = fs::read_to_string(&out).expect("a drawing");
    let left = (0..10).filter(|&row| accuracy(row) == best).count();
    assert_eq!(svg.matches("<circle").count(), 2 * left, "{svg}");
    let message = failure(
        example("plot_sweep").arg(&sweep).args(["--from", "101"]).arg("--out").arg(&out),
        1,
    );
    assert!(message.contains("--from 101"), "{message}");
}

#[test]
fn sweeps_that_cannot_be() {
    let dir = tempdir().expect("a folder");
    let plain = dir.path().join("plain");
    stdout(&mut tiny_plain_training(&plain));
    let model = plain.join("model.safetensors");
    let message = failure(&mut evaluate(&model, &["--budget", "0.5"]), 1);
    assert!(message.contains("has no gates"), "{message}");
    let (input, out) = (dir.path().join("rows.jsonl"), dir.path().join("plot.svg"));
    let before = tree(dir.path());
    for (text, part) in [("", "no measurements"), ("{}\n{\"accuracy\":1}", "line 1")] {
        fs::write(&input, text).expect("written");
        let message = failure(example("plot_sweep").arg(&input).arg("--out").arg(&out), 1);
        assert!(message.contains(part) && message.contains("rows.jsonl"), "{message}");
    }
    fs::remove_file(&input).expect("written before");
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_dead_layer_is_named() {
    let dir = tempdir().expect("a folder");
    let checkpoint = gated(&dir.path().join("run"));
    let model = GatedResNet::load(&checkpoint).expect("just trained");
    let layers = model.plan().layers();
    let layer = layers.iter().find(|layer| layer.conv == "stage2.block1.conv2").expect("a layer");
    model.gater().gate_bias().update(|bias| bias[layer.columns.clone()].fill(-1e3));
    // What the data are is written there too.
    let metadata = gaternet::core::checkpoint::Checkpoint::load(&checkpoint).expect("a file");
    model.save(&checkpoint, &metadata.metadata).expect("a writable folder");
    let output = evaluate(&checkpoint, &["--json"]).output().expect("the program starts");
    let warnings = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(warnings.contains("warning: stage2.block1.conv2 is inactive"), "{warnings}");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let inactive = object["inactive_layers"].as_array().expect("a list");
    assert!(inactive.contains(&"stage2.block1.conv2".into()), "{object}");
    assert_eq!(inactive.len(), warnings.lines().count(), "{warnings}");
}

#[test]
fn training_names_a_layer_once_when_it_dies() {
    let dir = tempdir().expect("a folder");
    let mut train = tiny_training(dir.path());
    let output = train.args(["--gate-bias=-9", "--epochs", "2"]).output().expect("it starts");
    let log = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(log.matches("warning: stage1.block3.conv2 is inactive").count(), 1, "{log}");
    assert_eq!(log.matches(" is inactive").count(), 9, "{log}");
}
