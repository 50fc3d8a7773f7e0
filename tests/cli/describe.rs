//! Counts from the command line.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::programs::{example, failure, stdout};

fn json(args: &[&str]) -> Value {
    let text = stdout(example("describe").arg("--json").args(args));
    serde_json::from_str(&text).expect("one object")
}

#[test]
fn a_table_adds_up_to_its_totals() {
    for args in [&["--gated", "--placement", "all"][..], &["--model", "densenet100-12", "--gated"]]
    {
        let object = json(args);
        let sum = |field: &str| -> u64 {
            let blocks = object["blocks"].as_array().expect("blocks");
            blocks.iter().map(|block| block[field].as_u64().expect("a count")).sum()
        };
        assert_eq!(sum("parameters"), object["parameters"].as_u64().expect("a count"), "{args:?}");
        assert_eq!(sum("gates"), object["gates"].as_u64().expect("a count"), "{args:?}");
        // All but the global pool.
        let rest = object["macs"].as_u64().expect("a count") - sum("macs");
        assert!(rest < 100_000, "{args:?}: {rest} MACs are in no block");
    }
}

#[test]
fn wider_has_about_the_parameters_of_gated() {
    let gated = json(&["--gated"]);
    let wider = json(&["--wider"]);
    let parameters = |object: &Value| object["parameters"].as_f64().expect("a count");
    let together = parameters(&gated) + gated["gater"][0].as_f64().expect("a count");
    let ratio = parameters(&wider) / together;
    assert!((0.97..1.03).contains(&ratio), "{ratio}");
}

#[test]
fn a_gater_that_cannot_be_says_why() {
    let text = failure(example("describe").args(["--gated", "--gater-depth", "21"]), 1);
    assert!(text.contains("gater.depth = 21 (the nearest are 20 and 26)"), "{text}");
    let text = failure(example("describe").args(["--gated", "--gater-pool", "3"]), 1);
    assert!(text.contains("gater.pool = 3"), "{text}");
}

#[test]
fn shared_gates_names_and_the_fraction_of_the_gater() {
    let object = json(&["--gated", "--placement", "all", "--filters-per-gate", "16"]);
    assert_eq!((&object["gates"], &object["outputs"]), (&672.into(), &42.into()));
    let names = ["--gated", "--gate", "*=none", "--gate", "stage1.*.conv2=on"];
    assert_eq!(json(&names)["gates"], 48);
    let table = stdout(example("describe").args(names).args(["--filters-per-gate", "8"]));
    assert!(table.contains("6 gates shared by 48 filters"), "{table}");
    let text = failure(example("describe").args(["--gated", "--gate", "conv=on"]), 1);
    assert!(text.contains("gate override = conv (of stage1.block1.conv1,"), "{text}");
    // Cheap gaters, as docs and recipes name them.
    for model in ["resnet56", "resnet110"] {
        let cheap = ["--gated", "--placement", "all", "--gater-depth", "8", "--gater-pool", "2"];
        let args = [&["--model", model][..], &cheap].concat();
        let object = json(&args);
        let fraction =
            object["gater"][1].as_f64().expect("MACs") / object["macs"].as_f64().expect("MACs");
        assert!(fraction < 0.1, "{model}: {fraction}");
        let table = stdout(example("describe").args(args));
        let line = format!("the gater has {:.1} % of the backbone's MACs", 100.0 * fraction);
        assert!(table.contains(&line), "no {line:?} in {table}");
    }
}

#[test]
fn the_picture_of_the_placements_is_what_the_program_draws() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("placements.svg");
    stdout(example("plot_placement").arg("--out").arg(&out));
    let read = |path: &Path| fs::read_to_string(path).expect("a picture");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/placements.svg");
    let text = "docs/placements.svg is of another version: draw it again, as docs/gates.md says";
    assert!(read(&out) == read(&docs), "{text}");
    let message = failure(example("plot_placement").arg("--out").arg(dir.path()), 1);
    assert!(message.contains("cannot write"), "{message}");
}

#[test]
fn latency_is_predicted_at_each_density_and_batch() {
    let narrow = ["--width", "0.05", "--gater-width", "0.05", "--gater-depth", "8"];
    let latency = ["--gated", "--latency", "--density", "0.75", "0", "--threads", "1"];
    let object = json(&[&narrow[..], &latency].concat());
    let rows = object["latency"].as_array().expect("rows");
    let of = |field: &str| rows.iter().map(|row| row[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("batch"), [1, 1, 64, 64]);
    assert_eq!(of("density"), [0.75, 0.0, 0.75, 0.0]);
    for row in rows {
        let [ms, speed, batch] =
            ["milliseconds", "images_per_second", "batch"].map(|f| row[f].as_f64().expect("one"));
        assert!(ms > 0.0 && (speed * ms / 1e3 - batch).abs() < 1e-6 * batch, "{row}");
    }
    let plain = json(&["--width", "0.05", "--latency"]);
    assert_eq!(plain["latency"].as_array().map(Vec::len), Some(2), "{plain}");
    assert!(json(&[])["latency"].is_null());

    let text = failure(example("describe").args(["--latency", "--density", "2"]), 1);
    assert!(text.contains("--density 2: must be between 0 and 1"), "{text}");
    failure(example("describe").args(["--density", "0.5"]), 2);
}

#[test]
fn a_network_of_another_spelling_is_told_its_name() {
    for (text, name) in [
        ("resnet18", "imagenet-resnet18"),
        ("resnet50", "imagenet-resnet50"),
        ("resnet152", "imagenet-resnet152"),
        ("ResNet-101", "imagenet-resnet101"),
        ("ResNet20", "resnet20"),
        ("resnet_56", "resnet56"),
        ("cifar_resnet56", "resnet56"),
        ("resnet110-cifar100", "resnet110"),
        ("wide_resnet28_10", "wrn28-10"),
        ("WRN-28-10", "wrn28-10"),
        ("preact_resnet110", "preact-resnet110"),
        ("PreResNet164", "preact-resnet164"),
        ("densenet", "densenet100-12"),
        ("DenseNet-BC-100-12", "densenet100-12"),
        ("shake_shake_26_2x96d", "shake-shake26-96"),
    ] {
        for program in ["describe", "model_throughput", "train_cifar"] {
            let message = failure(example(program).args(["--model", text]), 2);
            let tip = format!("a similar value exists: '{name}'");
            assert!(message.contains(&tip), "{program}, {text}: no {tip:?} in {message}");
        }
    }
    let message = failure(example("evaluate").args(["--model", "resnet20"]), 2);
    assert!(message.contains("'--checkpoint'"), "{message}");
}

#[test]
fn the_deepest_network_has_torchvisions_parameters() {
    let object = json(&["--model", "imagenet-resnet152"]);
    assert_eq!((&object["parameters"], &object["gates"]), (&60_192_808.into(), &0.into()));
    assert_eq!(object["size"], serde_json::json!([224, 224]));
}
