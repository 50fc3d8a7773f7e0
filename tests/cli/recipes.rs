//! The recipes in `recipes/`, and the files that are none.

use std::fs;
use std::path::{Path, PathBuf};

use crate::programs::{example, failure, stdout, tree};
use tempfile::tempdir;

fn recipes() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let entries = fs::read_dir(dir).expect("recipes/");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    files
}

/// What a run would be, on a few built-in images.
fn plan(recipe: &Path, dir: &Path, args: &[&str]) -> String {
    let mut train = example("train_cifar");
    train.args(["--dry-run", "--train-images", "300", "--test-images", "10", "--threads", "1"]);
    train.args(args).arg("--config").arg(recipe).arg("--out").arg(dir.join("out"));
    stdout(&mut train)
}

#[test]
fn every_recipe_names_its_source_and_makes_a_model() {
    let dir = tempdir().expect("a folder");
    for recipe in recipes() {
        let text = fs::read_to_string(&recipe).expect("a recipe");
        let comment: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(comment.contains("Source: "), "{}", recipe.display());
        let plan = plan(&recipe, dir.path(), &[]);
        let stored = |key: &str| {
            let line = plan.lines().find(|line| line.split_whitespace().next() == Some(key));
            line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned)
        };
        let table: toml::Table = text.parse().expect("TOML");
        for (key, name) in [
            ("epochs", "epochs"),
            ("lr", "learning_rate"),
            ("weight-decay", "weight_decay"),
            ("lambda", "lambda"),
            ("target-weight", "target_weight"),
        ] {
            if let Some(value) = table.get(key) {
                let want = match value {
                    toml::Value::Float(want) => *want,
                    value => value.as_integer().expect("a number") as f64,
                };
                let got = stored(name).and_then(|text| text.parse().ok());
                assert_eq!(got, Some(want), "{}: {key}", recipe.display());
            }
        }
        let gated = table.get("dense").is_none();
        assert_eq!(stored("gates").as_deref() != Some("0"), gated, "{plan}");
    }
    assert!(tree(dir.path()).is_empty(), "a dry run has written something");
}

#[test]
fn the_command_line_wins_over_what_contradicts_it_in_a_recipe() {
    let dir = tempdir().expect("a folder");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/paper-resnet20.toml");
    let contains = |args: &[&str], parts: &[&str]| {
        let plan = plan(&recipe, dir.path(), args);
        let lines: Vec<String> =
            plan.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for part in parts {
            assert!(lines.iter().any(|line| line == part), "{args:?}: no {part:?} in {plan}");
        }
        lines
    };
    let lines = contains(&[], &["epochs 160", "pretrain_gater 160", "model gated"]);
    assert!(lines.iter().any(|line| line.contains("milestones: [0.5, 0.75]")), "{lines:?}");
    let args = ["--epochs", "3", "--milestones", "0.25", "--pretrain-gater", "2"];
    let lines = contains(&args, &["epochs 3", "pretrain_gater 2", "learning_rate 0.1"]);
    assert!(lines.iter().any(|line| line.contains("milestones: [0.25]")), "{lines:?}");
    // The gater's options in the file contradict it, so they give way.
    let lines = contains(&["--dense"], &["model plain", "epochs 160"]);
    assert!(!lines.iter().any(|line| line.contains("gater_")), "{lines:?}");
    let short = recipe.with_file_name("short-resnet20-plain.toml");
    let plan = plan(&short, dir.path(), &["--placement", "inner"]);
    assert!(plan.contains("gated"), "{plan}");
}

#[test]
fn a_target_on_the_command_line_has_its_own_weight_whatever_lambda_a_recipe_has() {
    let dir = tempdir().expect("a folder");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/short-resnet20-gated.toml");
    let lines = |args: &[&str]| -> Vec<String> {
        let plan = plan(&recipe, dir.path(), args);
        plan.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let has = |lines: &[String], part: &str| lines.iter().any(|line| line.starts_with(part));
    let own = lines(&[]);
    assert!(has(&own, "lambda 0.01") && !has(&own, "target_weight"), "{own:?}");
    for (args, weight) in [
        (&["--target-macs", "1.5"][..], "target_weight 5"),
        (&["--target-rate", "0.5"], "target_weight 10"),
        (&["--target-macs", "1.5", "--target-weight", "2"], "target_weight 2"),
    ] {
        let lines = lines(args);
        assert!(has(&lines, weight) && !has(&lines, "lambda"), "{args:?}: {lines:?}");
    }
    // A target gives way to another, with what belongs to it.
    let latency = dir.path().join("latency.toml");
    fs::write(&latency, "target-latency = 0.5\nlatency-batch = 4").expect("a writable folder");
    let plan = plan(&latency, dir.path(), &["--target-macs", "1.8"]);
    assert!(plan.contains("target_weight") && !plan.contains("latency_batch"), "{plan}");
    let mut alone = example("train_cifar");
    failure(alone.args(["--latency-batch", "4", "--out"]).arg(dir.path().join("out")), 2);
    let mut both = example("train_cifar");
    both.args(["--target-macs", "1.5", "--lambda", "0.1", "--out"]).arg(dir.path().join("out"));
    let message = failure(&mut both, 2);
    assert!(message.contains("--lambda") && message.contains("cannot be used with"), "{message}");
}

#[test]
fn a_table_of_names_says_what_is_gated() {
    let dir = tempdir().expect("a folder");
    let recipe = dir.path().join("names.toml");
    let out = dir.path().join("out");
    let write = |table: &str| {
        let text = format!("placement = \"all\"\nfilters-per-gate = 8\n[gate]\n{table}");
        fs::write(&recipe, text).expect("a writable folder");
    };
    let gates = |args: &[&str]| {
        let plan = plan(&recipe, dir.path(), args);
        let line = plan.lines().find(|line| line.starts_with("gates ")).expect("gates").to_owned();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    // Of 84 shared by 672 filters: without stage 1, but for one convolution. The order is that of
    // the lines.
    write("\"stage1.*\" = \"none\"\n\"stage1.block1.conv1\" = \"on\"\n");
    assert_eq!(gates(&[]), "74 shared by 592 filters");
    write("\"stage1.block1.conv1\" = \"on\"\n\"stage1.*\" = \"none\"\n");
    assert_eq!(gates(&[]), "72 shared by 576 filters");
    // The command line's names are all there are then.
    let one = ["--gate", "*=none", "--gate", "stage3.block1.conv2=on"];
    assert_eq!(gates(&one), "8 shared by 64 filters");
    let error = |part: &str| {
        let mut train = example("train_cifar");
        train.arg("--config").arg(&recipe).arg("--out").arg(&out).arg("--dry-run");
        let message = failure(&mut train, 1);
        assert!(message.contains(part), "no {part:?} in {message}");
    };
    write("\"layer1.*\" = \"none\"\n");
    error("layer1.* (of stage1.block1.conv1, stage1.block1.conv2,");
    write("\"stage1.*\" = false\n");
    error("expected a string");
    write("\"stage1.*\" = \"off\"\n");
    error("expected PATTERN=on or PATTERN=none");
}

/// What `train_cifar --dry-run` says of a configuration that it refuses.
fn refused(dir: &Path, config: &str) -> String {
    let recipe = dir.join("refused.toml");
    fs::write(&recipe, config).expect("a writable folder");
    let mut train = example("train_cifar");
    train.arg("--config").arg(&recipe).arg("--out").arg(dir.join("out")).arg("--dry-run");
    failure(&mut train, 1)
}

#[test]
fn a_key_of_another_program_is_told_what_it_is_called_here() {
    let dir = tempdir().expect("a folder");
    for (key, name) in [
        ("learning_rate", "lr"),
        ("learning-rate", "lr"),
        ("batch_size", "batch-size"),
        ("Batch_Size", "batch-size"),
        ("wd", "weight-decay"),
        ("weight_decay", "weight-decay"),
        ("num_epochs", "epochs"),
        ("epoch", "epochs"),
        ("arch", "model"),
        ("dataset", "data"),
        ("output_dir", "out"),
        ("num_workers", "threads"),
        ("lr_scheduler", "schedule"),
        ("grad_clip", "clip-grad-norm"),
        ("smoothing", "label-smoothing"),
        ("pretrained", "checkpoint"),
        ("targt-rate", "target-rate"),
    ] {
        let message = refused(dir.path(), &format!("{key} = 1\n"));
        let part = format!("unknown key `{key}`; the nearest is `{name}`");
        assert!(message.contains(&part), "no {part:?} in {message}");
    }
    let message = refused(dir.path(), "momentum = 0.9");
    assert!(message.contains("unknown key `momentum`: SGD has Nesterov's momentum"), "{message}");
    let message = refused(dir.path(), "quantum = 1");
    assert!(message.contains("`quantum`") && !message.contains("nearest"), "{message}");
    // On the command line as well.
    for (option, tip) in [("--learning-rate", "'--lr'"), ("--batch_size", "'--batch-size'")] {
        let message = failure(example("train_cifar").args([option, "1"]), 2);
        assert!(message.contains(option) && message.contains(tip), "{message}");
    }
    let message = failure(example("train_cifar").args(["--momentum", "0.9"]), 2);
    assert!(message.contains("Nesterov's momentum of 0.9"), "{message}");
}

#[test]
fn a_value_of_another_type_is_told_what_is_expected() {
    let dir = tempdir().expect("a folder");
    for (config, part) in [
        ("epochs = 3.0", "`epochs = 3.0`: expected a whole number"),
        ("epochs = true", "`epochs = true`: expected a whole number"),
        ("epochs = \"three\"", "`epochs = \"three\"`: expected a whole number"),
        ("epochs = -3", "expected a whole number, 0 or more"),
        ("seed = 1.5", "`seed = 1.5`: expected a whole number"),
        ("lr = \"high\"", "`lr = \"high\"`: expected a number"),
        ("lr = [0.1]", "`lr = [0.1]`: expected a number"),
        ("dense = 1", "`dense = 1`: expected true or false"),
        ("dense = \"yes\"", "`dense = \"yes\"`: expected true or false"),
        ("milestones = [\"half\"]", "expected a number, or a list of them"),
        ("milestones = true", "expected a number, or a list of them"),
        ("out = 3", "`out = 3`: expected a string"),
        ("schedule = \"one_cycle\"", "expected one of \"step\", \"cosine\", \"one-cycle\""),
        ("schedule = \"one_cycle\"", "the nearest is \"one-cycle\""),
        ("schedule = 1", "expected one of \"step\""),
        ("model = \"resnet18\"", "and 9 more; the nearest is \"imagenet-resnet18\""),
        ("lr = ", "TOML parse error at line 1"),
    ] {
        let message = refused(dir.path(), config);
        assert!(message.contains(part), "{config}: no {part:?} in {message}");
    }
    for (args, part) in [
        (["--epochs", "3.0"], "expected a whole number, written 3"),
        (["--epochs", "three"], "expected a whole number"),
        (["--epochs=-3", "--dense"], "expected a whole number, 0 or more"),
        (["--lr", "high"], "expected a number"),
        (["--seed", "99999999999999999999"], "too large"),
    ] {
        let message = failure(example("train_cifar").args(args), 2);
        assert!(message.contains(part), "{args:?}: no {part:?} in {message}");
    }
    // A whole number is a number, and a list may have one entry.
    let recipe = dir.path().join("good.toml");
    let text = "lr = 1\nschedule = \"step\"\nmilestones = 0.5\nepochs = 1_0\nseed = 0x10\n";
    fs::write(&recipe, text).expect("a writable folder");
    let plan = plan(&recipe, dir.path(), &[]);
    let fields = ["learning_rate 1", "epochs 10", "seed 16", "milestones: [0.5]"];
    let lines = plan.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines = lines.collect::<Vec<_>>().join("\n");
    for field in fields {
        assert!(lines.contains(field), "no {field:?} in {lines}");
    }
}
