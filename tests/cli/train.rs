//! Training and evaluation from the command line.

use std::fs;

use crate::programs::{
    example, failure, metrics, stdout, tiny_plain_training, tiny_training, tree,
};
use gaternet::core::checkpoint::{Checkpoint, save};
use gaternet::core::gate::{Estimator, TauSchedule};
use gaternet::models::{GateLoss, GatePlacement, GateTerm, GatedResNet};
use serde_json::Value;
use tempfile::tempdir;

#[test]
fn a_trained_model_evaluates_to_the_numbers_of_its_last_epoch() {
    let dir = tempdir().expect("a folder");
    for dense in [false, true] {
        let out = dir.path().join(if dense { "dense" } else { "gated" });
        let mut train = if dense { tiny_plain_training(&out) } else { tiny_training(&out) };
        // A seed of its own: evaluation must find it in the file to draw the same images.
        train.args(["--epochs", "2", "--seed", "5"]);
        let table = stdout(&mut train);
        assert!(table.contains("test accuracy"), "{table}");
        let files = tree(&out);
        let expected = ["metrics.jsonl", "model.safetensors"].map(|name| out.join(name));
        assert_eq!(files, expected);

        let epochs = metrics(&out);
        assert_eq!(epochs.len(), 2);
        let fields: Vec<_> = epochs[0].keys().map(String::as_str).collect();
        #[rustfmt::skip]
        assert_eq!(fields, [
            "epoch", "gate_density", "images_per_second", "learning_rate", "macs_ratio", "seconds",
            "test_accuracy", "train_accuracy", "train_loss",
        ]);
        let last = &epochs[1];
        assert_eq!(last["epoch"], 2);
        assert_eq!(last["gate_density"] == 1.0, dense, "{last:?}");
        assert_eq!(last["macs_ratio"] == 1.0, dense, "{last:?}");

        let mut evaluate = example("evaluate");
        // Another batch size: the numbers are of the images.
        evaluate.args(["--json", "--threads", "1", "--batch-size", "7", "--checkpoint"]);
        let json = stdout(evaluate.arg(out.join("model.safetensors")));
        let got: Value = serde_json::from_str(&json).expect(&json);
        assert_eq!(got["images"], 20);
        for (name, field) in [
            ("accuracy", "test_accuracy"),
            ("gate_density", "gate_density"),
            ("macs_ratio", "macs_ratio"),
        ] {
            let (got, want) = (got[name].as_f64(), last[field].as_f64());
            let difference = got.expect("a number") - want.expect("a number");
            assert!(difference.abs() < 1e-6, "dense {dense}, {name}: {got:?}, not {want:?}");
        }
        let mut evaluate = example("evaluate");
        evaluate.args(["--json", "--threads", "1", "--dtype", "bf16", "--checkpoint"]);
        let json = stdout(evaluate.arg(out.join("model.safetensors")));
        let rounded: Value = serde_json::from_str(&json).expect(&json);
        assert_eq!((&got["dtype"], &rounded["dtype"]), (&"f32".into(), &"bf16".into()));
        let [loss, other] = [&got, &rounded].map(|row| row["loss"].as_f64().expect("a number"));
        // A gate may open or close where the gater's output is about 0.
        let bound = if dense { 0.05 } else { 0.5 };
        assert!(loss != other && (loss - other).abs() < bound * loss, "{loss}, in bf16 {other}");
        let mut evaluate = example("evaluate");
        evaluate.args(["--threads", "1", "--checkpoint"]);
        let table = stdout(evaluate.arg(out.join("model.safetensors")));
        assert!(table.contains("synthetic, 20 test images"), "{table}");
    }
}

#[test]
fn a_seed_decides_every_number_but_the_times() {
    let dir = tempdir().expect("a folder");
    let run = |name: &str, seed: &str, threads: &str| {
        let out = dir.path().join(name);
        stdout(tiny_training(&out).args(["--seed", seed, "--threads", threads]));
        let mut epochs = metrics(&out);
        for epoch in &mut epochs {
            for time in ["seconds", "images_per_second"] {
                epoch.remove(time).expect(time);
            }
        }
        epochs
    };
    let first = run("first", "1", "1");
    assert_eq!(run("again", "1", "1"), first);
    assert_eq!(run("threads", "1", "2"), first, "the number of threads changed the numbers");
    assert_ne!(run("other", "2", "1"), first);
}

#[test]
fn a_configuration_file_fills_in_what_the_command_line_leaves_out() {
    let dir = tempdir().expect("a folder");
    let (config, out) = (dir.path().join("recipe.toml"), dir.path().join("out"));
    let text = "epochs = 3\nbatch-size = 40\nlr = 0.05\nschedule = \"step\"\ndense = true\n\
                train-images = 40\ntest-images = 20";
    fs::write(&config, text).expect("written");
    let mut train = example("train_cifar");
    train.args(["--epochs", "1", "--config"]).arg(&config).arg("--out").arg(&out);
    stdout(&mut train);
    let epochs = metrics(&out);
    assert_eq!(epochs.len(), 1, "--epochs 1 must win over epochs = 3");
    // One step before the first milestone.
    assert!((epochs[0]["learning_rate"].as_f64().expect("a number") - 0.05).abs() < 1e-7);
    assert_eq!(epochs[0]["gate_density"], 1.0, "dense = true");
}

#[test]
fn the_placement_of_the_gates_is_trained_and_stored() {
    let dir = tempdir().expect("a folder");
    let (config, out) = (dir.path().join("recipe.toml"), dir.path().join("out"));
    fs::write(&config, "placement = \"inner\"").expect("written");
    let stored = || {
        let model = GatedResNet::load(out.join("model.safetensors")).expect("just trained");
        model.config().placement
    };
    let train = || {
        let mut train = tiny_training(&out);
        train.arg("--overwrite").arg("--config").arg(&config);
        train
    };
    stdout(&mut train());
    assert_eq!(stored(), GatePlacement::Inner);
    stdout(train().args(["--placement", "all"]));
    assert_eq!(stored(), GatePlacement::All);
}

#[test]
fn the_training_of_the_gates_is_that_of_the_options() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    let macs = GateTerm::new(GateLoss::TargetMacs { target: 0.75 }, 5.0);
    let shaping = GateLoss::BatchShaping { a: 2.0, b: 3.0 };
    let shaping = GateTerm { fades_over: Some(0.5), ..GateTerm::new(shaping, 0.3) };
    let rate = GateTerm::new(GateLoss::TargetRate { target: 0.25 }, 7.0);
    let tau = TauSchedule { first: 2.0, last: 0.5, fraction: 0.75 };
    let cases: [(&str, Estimator, &[GateTerm]); 4] = [
        ("--target-macs 0.75 --gater-pool 4", Estimator::SemHash, &[macs]),
        (
            "--estimator gumbel-sigmoid --tau 2 --tau-last 0.5 --tau-fraction 0.75 --soft-gates \
             --target-rate 0.25 --target-weight 7 --batch-shaping 0.3 --beta 2,3 --batch-shaping-fraction 0.5",
            Estimator::GumbelSigmoid { tau, hard: false },
            &[rate, shaping],
        ),
        (
            "--estimator top-k --density 0.25",
            Estimator::TopK { density: 0.25 },
            &[GateTerm::new(GateLoss::L1, 0.0)],
        ),
        (
            "--estimator straight-through",
            Estimator::StraightThrough,
            &[GateTerm::new(GateLoss::L1, 0.1)],
        ),
    ];
    for (args, estimator, losses) in cases {
        let mut train = tiny_training(&out);
        train.args(["--overwrite", "--placement", "all"]).args(args.split_whitespace());
        let table = stdout(&mut train);
        assert_eq!(table.contains("the target is 0.75x"), args.contains("macs"), "{table}");
        let model = GatedResNet::load(out.join("model.safetensors")).expect("just trained");
        assert_eq!(model.config().estimator, estimator, "{args}");
        assert_eq!(model.config().gate_losses, losses, "{args}");
        if let Estimator::TopK { .. } = estimator {
            assert_eq!(metrics(&out)[0]["gate_density"], 0.25);
        }
    }
}

#[test]
fn results_are_replaced_only_when_asked() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    stdout(&mut tiny_training(&out));
    let before = fs::read(out.join("metrics.jsonl")).expect("metrics");
    let message = failure(tiny_training(&out).args(["--seed", "9"]), 1);
    assert!(message.contains("metrics.jsonl exists"), "{message}");
    assert!(message.contains("--overwrite"), "{message}");
    assert_eq!(fs::read(out.join("metrics.jsonl")).expect("metrics"), before);
    stdout(tiny_training(&out).args(["--seed", "9", "--overwrite"]));
    assert_ne!(fs::read(out.join("metrics.jsonl")).expect("metrics"), before);
    assert_eq!(metrics(&out).len(), 1);
}

#[test]
fn a_diverged_run_keeps_the_last_good_model() {
    let dir = tempdir().expect("a folder");
    let out = dir.path().join("out");
    // A step of one epoch, then one that goes too far.
    let train = |lr: &str, epochs: &str| {
        let mut train = tiny_training(&out);
        train.args(["--epochs", epochs, "--batch-size", "40", "--lr", lr, "--schedule", "step"]);
        train
    };
    stdout(&mut train("0.1", "1"));
    let model = out.join("model.safetensors");
    let good = fs::read(&model).expect("a model");
    // The model of the first epoch, with a learning rate that its file does not know.
    let mut file = Checkpoint::load(&model).expect("a model");
    let options = file.metadata["options"].replace("--lr=0.1", "--lr=1e30");
    file.metadata.insert("options".to_owned(), options);
    file.metadata.insert("learning_rate".to_owned(), 1e30_f64.to_string());
    let tensors: Vec<_> = file.tensors.into_iter().collect();
    save(&model, &tensors, &file.metadata).expect("saved");
    let before = fs::read(&model).expect("a model");
    let message = failure(train("1e30", "9").arg("--resume"), 1);
    let kept = format!("{} is of epoch 1", model.display());
    for part in ["epoch 2", "--lr", &kept] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    assert_eq!(metrics(&out).len(), 1);
    assert!(fs::read(&model).expect("a model") == before && before != good);
    stdout(example("evaluate").args(["--threads", "1", "--checkpoint"]).arg(model));
}
