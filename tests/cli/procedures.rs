//! Pre-training, parts at rest, averages, and runs that stop and go on.

use std::fs;
use std::path::Path;

use crate::programs::{
    example, failure, metrics, stdout, tiny_plain_training, tiny_training, tree,
};
use gaternet::core::checkpoint::{Checkpoint, TensorValue};
use gaternet::models::LatencyCosts;
use serde_json::Value;
use tempfile::tempdir;

/// Names of the tensors that differ between two model files.
fn differing(a: &Path, b: &Path) -> Vec<String> {
    let [a, b] = [a, b].map(|path| Checkpoint::load(path).expect("a model").tensors);
    assert!(a.keys().eq(b.keys()), "other tensors");
    let same = |a: &TensorValue, b: &TensorValue| match (a, b) {
        (TensorValue::F32(a), TensorValue::F32(b)) => a.data() == b.data(),
        (TensorValue::I64 { values: a, .. }, TensorValue::I64 { values: b, .. }) => a == b,
        _ => false,
    };
    a.iter().filter(|(name, value)| !same(value, &b[*name])).map(|(name, _)| name.clone()).collect()
}

/// Everything that has a state, in two epochs of training after one of pre-training.
const EVERYTHING: [&str; 33] = [
    "--epochs",
    "2",
    "--pretrain-gater",
    "1",
    "--open-epochs",
    "1",
    "--freeze-extractor",
    "1",
    "--gater-lr",
    "0.05",
    "--gater-weight-decay",
    "0",
    "--mixup",
    "0.4",
    "--cutout",
    "8",
    "--ema",
    "0.9",
    "--clip-grad-norm",
    "1",
    "--label-smoothing",
    "0.1",
    "--estimator",
    "gumbel-sigmoid",
    "--tau",
    "2",
    "--tau-last",
    "0.5",
    "--target-rate",
    "0.5",
    "--batch-shaping",
    "1",
    "--gater-batch-norm",
];

#[test]
fn a_run_that_stops_after_every_epoch_ends_with_the_same_bytes() {
    let dir = tempdir().expect("a folder");
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    stdout(tiny_training(&whole).args(EVERYTHING));
    let go_on = || {
        let mut train = tiny_training(&parts);
        train.args(EVERYTHING).arg("--resume");
        train
    };
    for epochs in 1..=2 {
        stdout(go_on().args(["--stop-after", "1"]));
        assert!(parts.join("state.safetensors").exists(), "after {epochs} epochs");
    }
    // As if it had been killed between the line of an epoch and its state.
    let log = parts.join("metrics.jsonl");
    let lines = fs::read_to_string(&log).expect("metrics");
    fs::write(&log, lines.clone() + &lines).expect("written");
    let table = stdout(&mut go_on());
    assert!(table.contains("test accuracy"), "{table}");
    assert_eq!(metrics(&parts).len(), 2);
    for name in ["model.safetensors", "gater.safetensors"] {
        let [a, b] = [&whole, &parts].map(|out| fs::read(out.join(name)).expect(name));
        assert!(a == b, "{name} differs");
    }
    #[rustfmt::skip]
    let expected = [
        "gater.safetensors", "metrics.jsonl", "model.safetensors", "pretraining.jsonl",
    ].map(|name| parts.join(name));
    assert_eq!(tree(&parts), expected, "nothing is left of the state");
    // A complete run has nothing left to do.
    let before = fs::read(&log).expect("metrics");
    assert_eq!(stdout(&mut go_on()).lines().next(), table.lines().next());
    assert_eq!(fs::read(&log).expect("metrics"), before);
}

#[test]
fn only_the_same_run_goes_on() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let train = |args: &[&str]| {
        let mut train = tiny_training(&out);
        train.args(["--epochs", "2"]).args(args);
        train
    };
    stdout(&mut train(&["--stop-after", "1"]));
    let before = tree(&out);
    for (args, part) in [
        (&["--resume", "--lr", "0.3"][..], "learning_rate = 0.2, this one has 0.3"),
        (&["--resume", "--ema", "0.5"], "ema = none, this one has 0.5"),
        (&["--resume", "--seed", "3"], "begun with --seed 0, not 3"),
        (&["--resume", "--train-images", "50"], "begun with --train-images 40, not 50"),
        (&[], "pass --overwrite to replace it or --resume to go on"),
    ] {
        let message = failure(&mut train(args), 1);
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    let message = failure(&mut train(&["--resume", "--overwrite"]), 2);
    assert!(message.contains("cannot be used with"), "{message}");
    assert_eq!(tree(&out), before);
    fs::remove_file(out.join("state.safetensors")).expect("there");
    let message = failure(&mut train(&["--resume"]), 1);
    assert!(message.contains("state.safetensors is missing"), "{message}");
}

#[test]
fn a_pre_trained_gater_is_the_start_of_the_next_run() {
    let dir = tempdir().expect("a folder");
    let [first, second, third] = ["first", "second", "third"].map(|name| dir.path().join(name));
    stdout(tiny_training(&first).args(["--pretrain-gater", "2"]));
    let lines = fs::read_to_string(first.join("pretraining.jsonl")).expect("pretraining.jsonl");
    assert_eq!(lines.lines().count(), 2);
    // Order and noise of the training do not depend on where its gater comes from.
    let gater = first.join("gater.safetensors");
    stdout(tiny_training(&second).arg("--gater-checkpoint").arg(gater));
    let model = |out: &Path| out.join("model.safetensors");
    assert_eq!(differing(&model(&first), &model(&second)), [""; 0]);
    stdout(&mut tiny_training(&third));
    assert!(!differing(&model(&first), &model(&third)).is_empty(), "pre-training had no effect");
}

#[test]
fn a_plain_model_gets_gates_while_it_rests() {
    let dir = tempdir().expect("a folder");
    let [plain, before, after] = ["plain", "before", "after"].map(|name| dir.path().join(name));
    stdout(&mut tiny_plain_training(&plain));
    let gated = |out: &Path, args: &[&str]| {
        let mut train = tiny_training(out);
        train.arg("--backbone-checkpoint").arg(plain.join("model.safetensors"));
        stdout(train.args(args).args(["--epochs", "2"]));
        out.join("model.safetensors")
    };
    let rested = gated(&before, &["--freeze-backbone", "2"]);
    let rested = Checkpoint::load(rested).expect("a model").part("backbone.");
    let start = Checkpoint::load(plain.join("model.safetensors")).expect("a model");
    for (name, value) in &start.tensors {
        let (TensorValue::F32(a), TensorValue::F32(b)) = (value, &rested.tensors[name]) else {
            continue;
        };
        let statistics = name.contains("running_");
        assert_eq!(a.data() != b.data(), statistics, "{name}");
    }
    let moved = gated(&after, &["--freeze-gater", "1"]);
    let moved = differing(&moved, &before.join("model.safetensors"));
    assert!(moved.contains(&"backbone.conv.weight".to_owned()), "{moved:?}");
}

#[test]
fn all_gates_are_open_in_the_epochs_that_say_so() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    stdout(tiny_training(&out).args(["--epochs", "2", "--open-epochs", "1"]));
    let epochs = metrics(&out);
    assert_eq!((&epochs[0]["gate_density"], &epochs[0]["macs_ratio"]), (&1.0.into(), &1.0.into()));
    assert_ne!(epochs[1]["gate_density"], 1.0);
}

#[test]
fn averaged_weights_are_what_is_evaluated_and_saved() {
    let dir = tempdir().expect("a folder");
    let [own, averaged] = ["own", "averaged"].map(|name| dir.path().join(name));
    stdout(&mut tiny_training(&own));
    stdout(tiny_training(&averaged).args(["--ema", "0.9"]));
    let last = metrics(&averaged).remove(0);
    let mut evaluate = example("evaluate");
    evaluate.args(["--json", "--threads", "1", "--checkpoint"]);
    let json = stdout(evaluate.arg(averaged.join("model.safetensors")));
    let got: Value = serde_json::from_str(&json).expect(&json);
    for (name, field) in [("accuracy", "test_accuracy"), ("gate_density", "gate_density")] {
        let [got, want] = [&got[name], &last[field]].map(|x| x.as_f64().expect("a number"));
        assert!((got - want).abs() < 1e-9, "{name}: {got}, not {want}");
    }
    // So are the gates, and what runs with them, of a training to a target.
    let target = dir.path().join("target");
    let args = [
        "--ema",
        "0.8",
        "--target-macs",
        "1.1",
        "--epochs",
        "2",
        "--min-active",
        "1",
        "--filters-per-gate",
        "8",
    ];
    let table = stdout(tiny_training(&target).args(args));
    assert!(table.contains("the target is 1.1x"), "{table}");
    let last = metrics(&target).remove(1);
    let mut evaluate = example("evaluate");
    evaluate.args(["--json", "--threads", "1", "--checkpoint"]);
    let json = stdout(evaluate.arg(target.join("model.safetensors")));
    let of_file: Value = serde_json::from_str(&json).expect(&json);
    for (name, field) in [("macs_ratio", "macs_ratio"), ("gate_density", "gate_density")] {
        let [got, want] = [&of_file[name], &last[field]].map(|x| x.as_f64().expect("a number"));
        assert!((got - want).abs() < 1e-9, "{name}: {got}, not {want}");
    }
    let differing = differing(&own.join("model.safetensors"), &averaged.join("model.safetensors"));
    for name in ["backbone.conv.weight", "backbone.bn.running_mean", "gater.fnn.fc.0.bias"] {
        assert!(differing.contains(&name.to_owned()), "{name} is not averaged");
    }
    assert!(!differing.contains(&"backbone.bn.num_batches_tracked".to_owned()));
}

#[test]
fn a_time_is_trained_for_as_it_was_measured_when_the_run_began() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let train = |args: &[&str]| {
        let mut train = tiny_training(&out);
        train.args(["--epochs", "3", "--open-epochs", "1", "--placement", "all"]).args(args);
        train.args(["--gater-pool", "4", "--gater-width", "0.25", "--target-latency", "0.8"]);
        train
    };
    let batch = ["--latency-batch", "8"];
    stdout(train(&["--stop-after", "2"]).args(batch));
    let file = out.join("latency.json");
    let text = fs::read_to_string(&file).expect("latency.json");
    let table = stdout(train(&["--resume"]).args(batch));
    assert_eq!(fs::read_to_string(&file).expect("still there"), text, "it was measured again");
    let costs: LatencyCosts = serde_json::from_str(&text).expect(&text);
    let epochs = metrics(&out);
    assert!(!epochs[0].contains_key("latency_ratio"), "all gates are open: {:?}", epochs[0]);
    let got = epochs[2]["latency_ratio"].as_f64().expect("a number");
    let line = format!("{got:.3}x the plain network's, the target is 0.8x");
    assert!(table.contains(&line), "no {line:?} in {table}");
    let mut evaluate = example("evaluate");
    evaluate.args(["--json", "--threads", "1", "--checkpoint"]);
    let json = stdout(evaluate.arg(out.join("model.safetensors")));
    let object: Value = serde_json::from_str(&json).expect(&json);
    let densities: Vec<f64> =
        serde_json::from_value(object["layer_densities"].clone()).expect("a list");
    let want = costs.ratio(&densities).expect("a density a layer");
    assert!((got - want).abs() < 1e-9, "{got}, not {want}");
    // A complete run says it again.
    assert!(stdout(train(&["--resume"]).args(batch)).contains(&line));
    let message = failure(&mut train(&["--resume", "--latency-batch", "4"]), 1);
    assert!(message.contains("with --latency-batch 8, not 4"), "{message}");
}

#[test]
fn seeds_are_repeated_and_go_on() {
    let dir = tempdir().expect("a folder");
    let (out, alone) = (dir.path().join("out"), dir.path().join("alone"));
    let repeat = |args: &[&str]| {
        let mut train = tiny_training(&out);
        train.args(["--repeat", "3", "--seed", "4"]).args(args);
        train
    };
    stdout(&mut repeat(&["--stop-after", "1"]));
    assert!(!out.join("summary.json").exists(), "one of three");
    let table = stdout(&mut repeat(&["--resume"]));
    assert!(table.contains("standard deviation") && table.contains("of 3 seeds"), "{table}");
    let summary = fs::read_to_string(out.join("summary.json")).expect("summary.json");
    let summary: Value = serde_json::from_str(&summary).expect(&summary);
    assert_eq!(summary["seeds"], serde_json::json!([4, 5, 6]));
    let runs = ["seed4", "seed5", "seed6"].map(|name| out.join(name));
    let values: Vec<f64> = runs
        .iter()
        .map(|run| metrics(run)[0]["gate_density"].as_f64().expect("a number"))
        .collect();
    let of = &summary["gate_density"];
    assert_eq!(of["values"], serde_json::json!(values));
    let mean = values.iter().sum::<f64>() / 3.0;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2.0;
    for (name, want) in [("mean", mean), ("standard_deviation", variance.sqrt())] {
        let got = of[name].as_f64().expect("a number");
        assert!((got - want).abs() < 1e-12, "{name}: {got}, not {want}");
    }
    // A seed is the run that it is alone.
    stdout(tiny_training(&alone).args(["--seed", "5"]));
    let [a, b] = [&runs[1], &alone].map(|out| out.join("model.safetensors"));
    assert_eq!(differing(&a, &b), [""; 0], "seed 5 differs");
    let message = failure(&mut repeat(&[]), 1);
    assert!(message.contains("seed4") && message.contains("exists"), "{message}");
    // More seeds.
    stdout(&mut repeat(&["--resume", "--repeat", "4"]));
    assert!(out.join("seed7/model.safetensors").exists());
    let message = failure(&mut repeat(&["--seed", "40"]), 1);
    assert!(message.contains("summary.json exists"), "{message}");
}
