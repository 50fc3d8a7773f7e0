//! Counts from the command line.

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
            let units = object["units"].as_array().expect("units");
            units.iter().map(|unit| unit[field].as_u64().expect("a count")).sum()
        };
        assert_eq!(sum("parameters"), object["parameters"].as_u64().expect("a count"), "{args:?}");
        assert_eq!(sum("gates"), object["gates"].as_u64().expect("a count"), "{args:?}");
        // All but the global pool.
        let rest = object["macs"].as_u64().expect("a count") - sum("macs");
        assert!(rest < 100_000, "{args:?}: {rest} MACs are in no unit");
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
