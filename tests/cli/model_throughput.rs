//! `model_throughput`: what it measures, not how fast that is.

use std::collections::BTreeMap;

use crate::programs::{example, failure, stdout};
use serde_json::Value;

#[test]
fn a_line_says_what_was_measured() {
    let mut measure = example("model_throughput");
    measure.args(["--json", "--model", "resnet20", "--placement", "inner", "--density", "0", "1"]);
    measure.args(["--filters-per-gate", "8", "--gater-depth", "8", "--gater-pool", "2"]);
    let lines = stdout(measure.args(["--batch", "40", "--threads", "1", "--run", "1"]));
    let rows: Vec<BTreeMap<String, Value>> =
        lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let fields: Vec<_> = rows[0].keys().map(String::as_str).collect();
    #[rustfmt::skip]
    assert_eq!(fields, [
        "batch", "density", "dtype", "filters_per_gate", "gater_depth", "gater_pool", "gating", "images_per_second",
        "macs_ratio", "model", "placement", "threads",
    ]);
    let text = |row: &BTreeMap<String, Value>, field: &str| {
        row[field].as_str().expect("a string").to_owned()
    };
    let given = [("filters_per_gate", 8), ("gater_depth", 8), ("gater_pool", 2)];
    let echoed = |row: &BTreeMap<String, Value>| given.iter().all(|(name, of)| row[*name] == *of);
    assert!(rows.iter().all(echoed), "{rows:?}");
    let what: Vec<_> = rows
        .iter()
        .map(|row| {
            let ratio = row["macs_ratio"].as_f64().expect("a number");
            let density = row["density"].as_f64().expect("a number");
            (text(row, "gating"), text(row, "placement"), density, format!("{ratio:.2}"))
        })
        .collect();
    let row = |gating: &str, placement: &str, density, ratio: &str| {
        (gating.to_owned(), placement.to_owned(), density, ratio.to_owned())
    };
    assert_eq!(
        what,
        [
            row("dense", "none", 1.0, "1.00"),
            row("masked", "inner", 0.0, "1.08"),
            // What is left is the gater, and of the backbone its first convolution and its
            // shortcuts.
            row("skipped", "inner", 0.0, "0.09"),
            row("dense", "none", 1.0, "1.00"),
            row("masked", "inner", 1.0, "1.08"),
            row("skipped", "inner", 1.0, "1.08"),
        ]
    );
    for row in &rows {
        assert_eq!((text(row, "model"), text(row, "dtype")), ("resnet20".into(), "f32".into()));
        assert_eq!((row["batch"].as_u64(), row["threads"].as_u64()), (Some(40), Some(1)));
        assert!(row["images_per_second"].as_f64() > Some(0.0), "{row:?}");
    }
}

#[test]
fn a_line_for_each_type_of_products() {
    let mut measure = example("model_throughput");
    measure.args(["--json", "--model", "resnet20", "--gating", "dense", "skipped"]);
    measure.args(["--dtype", "f32", "bf16", "--batch", "4", "--threads", "1", "--run", "1"]);
    let lines = stdout(&mut measure);
    let what = lines.lines().map(|line| {
        let row: Value = serde_json::from_str(line).expect(line);
        ["dtype", "gating"].map(|field| row[field].as_str().expect("a string").to_owned())
    });
    let want = [["f32", "dense"], ["f32", "skipped"], ["bf16", "dense"], ["bf16", "skipped"]];
    assert_eq!(what.collect::<Vec<_>>(), want);
}

#[test]
fn values_out_of_range_are_named() {
    for (args, part) in [
        (["--batch", "0"], "--batch 0"),
        (["--density", "1.5"], "--density 1.5"),
        (["--density", "nan"], "--density NaN"),
        (["--threads", "0"], "--threads 0"),
    ] {
        let message = failure(example("model_throughput").args(args), 1);
        assert!(message.contains(part), "{args:?}: no {part:?} in {message:?}");
    }
}
