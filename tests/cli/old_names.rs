//! Options and keys of recipes by the names that they had in earlier versions.

use std::fs;

use tempfile::tempdir;

use crate::programs::{example, stdout};

/// Words of a command line, the old ones and the new ones.
const OPTIONS: [(&[&str], &[&str]); 7] = [
    (&["--gate-group", "8"], &["--filters-per-gate", "8"]),
    (&["--placement", "hidden"], &["--placement", "inner"]),
    (&["--placement", "residual-output"], &["--placement", "block-output"]),
    (
        &["--estimator", "gumbel-sigmoid", "--tau-share", "0.5"],
        &["--estimator", "gumbel-sigmoid", "--tau-fraction", "0.5"],
    ),
    (
        &["--batch-shaping", "1", "--batch-shaping-share", "0.5"],
        &["--batch-shaping", "1", "--batch-shaping-fraction", "0.5"],
    ),
    (&["--min-open", "2"], &["--min-active", "2"]),
    (&["--min-open-share", "0.25"], &["--min-active-fraction", "0.25"]),
];

#[test]
fn old_options_and_keys_are_the_new_ones() {
    let dir = tempdir().expect("a folder");
    let recipe = dir.path().join("recipe.toml");
    for (old, new) in OPTIONS {
        let of_file = |words: &[&str]| {
            let line = |pair: &[&str]| {
                let [key, value] = *pair else { panic!("an option and its value: {pair:?}") };
                let number = value.parse::<f64>().is_ok();
                let quote = if number { "" } else { "\"" };
                format!("{} = {quote}{value}{quote}\n", key.trim_start_matches("--"))
            };
            fs::write(&recipe, words.chunks(2).map(line).collect::<String>()).expect("written");
            plan(&["--config", recipe.to_str().expect("UTF-8")])
        };
        let want = plan(new);
        assert_eq!(plan(old), want, "{old:?}");
        assert_eq!(of_file(old), of_file(new), "{old:?}");
    }
}

#[test]
fn other_programs_know_the_old_options_too() {
    let counts = |args: &[&str]| stdout(example("describe").arg("--gated").args(args));
    assert_eq!(counts(&["--gate-group", "8"]), counts(&["--filters-per-gate", "8"]));
}

/// What `train_cifar` would do.
fn plan(args: &[&str]) -> String {
    let mut train = example("train_cifar");
    train
        .args(["--dry-run", "--train-images", "40", "--test-images", "20", "--batch-size", "16"])
        .args(args);
    stdout(&mut train)
}
