//! Measurements of convolutions, and their plot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::programs::{example, failure, stdout};
use serde_json::Value;
use tempfile::tempdir;

/// Lines of `conv_throughput --json` in runs that are too short to say anything about speed.
fn measure(args: &[&str]) -> String {
    let mut program = example("conv_throughput");
    program.args(["--json", "--threads", "1", "--run", "0", "--rotate", "0"]);
    stdout(program.args(args))
}

fn plot(input: &Path, out: &Path) -> std::process::Command {
    let mut program = example("plot_density");
    program.arg(input).arg("--out").arg(out);
    program
}

#[test]
fn a_line_of_json_for_each_type_density_and_gating() {
    let text = measure(&["--filter", "64x16@32k1", "--batch", "1", "64", "--dtype", "f32", "bf16"]);
    let rows: Vec<BTreeMap<String, Value>> =
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(rows.len(), 2 * 2 * (1 + 3 * 4));
    let fields: Vec<_> = rows[0].keys().map(String::as_str).collect();
    #[rustfmt::skip]
    assert_eq!(fields, [
        "algorithm", "batch", "ci", "co", "density", "dtype", "gating", "gflops", "h", "k", "ms", "op",
        "stride", "threads", "w",
    ]);
    assert_eq!(rows.iter().filter(|row| row["dtype"] == "bf16").count(), 2 * (1 + 3 * 4));
    for row in &rows {
        assert_eq!(row["op"], "forward");
        assert_eq!(row["gating"] == "none", row["density"] == 1.0, "{row:?}");
        let number = |field: &str| row[field].as_f64().expect(field);
        // Operations of the layer with all filters active, whatever was skipped.
        let operations = 2.0 * number("batch") * 64.0 * 16.0 * 32.0 * 32.0;
        let ratio = 1e6 * number("gflops") * number("ms") / operations;
        assert!((ratio - 1.0).abs() < 0.01, "{row:?}");
    }
}

#[test]
fn gradients_are_measured_too() {
    let ops = ["backward-input", "backward-weight"];
    let text = measure(&[&["--filter", "16x64@32k1", "--batch", "2", "--op"], &ops[..]].concat());
    for op in ops {
        let lines = text.lines().filter(|line| line.contains(&format!("\"op\":\"{op}\"")));
        assert_eq!(lines.count(), 13);
    }
}

#[test]
fn a_plot_has_a_panel_for_each_layer_and_batch() {
    let dir = tempdir().expect("a folder");
    let (input, out) = (dir.path().join("rows.jsonl"), dir.path().join("plot.svg"));
    fs::write(&input, measure(&["--filter", "64x16@32k1", "16x64@32k1"])).expect("written");
    stdout(&mut plot(&input, &out));
    let svg = fs::read_to_string(&out).expect("a drawing");
    for title in ["64x16@32k1, batch 1,", "64x16@32k1, batch 64,", "16x64@32k1, batch 64,"] {
        assert_eq!(svg.matches(title).count(), 1, "{title}");
    }
    // Three gatings and two ideals each.
    assert_eq!(svg.matches("<polyline").count(), 4 * 5);
}

#[test]
fn bad_input() {
    let message = failure(example("conv_throughput").args(["--filter", "7x7"]), 1);
    assert!(message.contains("--filter 7x7") && message.contains("64x64@8k3"), "{message}");
    let message = failure(example("conv_throughput").args(["--batch", "0"]), 1);
    assert!(message.contains("--batch 0"), "{message}");
    let gradient = ["--op", "forward", "backward-weight", "--dtype", "bf16"];
    let message = failure(example("conv_throughput").args(gradient), 1);
    assert!(message.contains("--op backward-weight --dtype bf16"), "{message}");

    let dir = tempdir().expect("a folder");
    let (input, out) = (dir.path().join("rows.jsonl"), dir.path().join("plot.svg"));
    for (text, part) in [
        ("", "no measurements"),
        ("{\"op\":1}", "line 1"),
        (measure(&["--filter", "64x16@32k1"]).lines().nth(2).expect("a line"), "density 1"),
    ] {
        fs::write(&input, text).expect("written");
        let message = failure(&mut plot(&input, &out), 1);
        assert!(message.contains(part) && message.contains("rows.jsonl"), "{message}");
        assert!(!out.exists());
    }
}
