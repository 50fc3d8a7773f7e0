//! `--help` of every program.

use std::fs;
use std::path::Path;

use crate::programs::{example, stdout};

/// An option of a help text.
struct Option {
    name: String,
    text: String,
}

/// The examples that read a command line, by their folders.
fn programs() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("the examples") {
        let path = entry.expect("an example").path();
        // `common` has no main file, custom_network no options, and conv2d_cuda is not always
        // built.
        let main = fs::read_to_string(path.join("main.rs")).unwrap_or_default();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name != "conv2d_cuda" && main.contains("parse()") {
            names.push(name);
        }
    }
    names.sort();
    names
}

fn help(program: &str) -> String {
    stdout(example(program).arg("--help"))
}

/// The options of a help text, those of its headings included. A line that begins with a dash in
/// the column of an option begins one; the text is behind it, or on the lines below it.
fn options(help: &str) -> Vec<Option> {
    let mut options: Vec<Option> = Vec::new();
    for line in help.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if (2..=6).contains(&indent) && line.starts_with('-') {
            let (head, text) = line.split_once("  ").unwrap_or((line, ""));
            let name = head.split([' ', ',']).find(|word| word.starts_with("--"));
            let name = name.unwrap_or(head).to_owned();
            options.push(Option { name, text: text.trim().to_owned() });
        } else if indent > 6
            && let Some(option) = options.last_mut()
        {
            option.text += " ";
            option.text += line;
        }
    }
    options
}

#[test]
fn every_program_says_what_it_does_in_lines_of_100_columns() {
    let programs = programs();
    assert!(programs.len() >= 10, "{programs:?}");
    for program in programs {
        let help = help(&program);
        assert!(help.contains(&format!("\nUsage: {program}")), "{program}:\n{help}");
        let about = help.lines().next().unwrap_or_default();
        assert!(about.len() > 20 && !about.starts_with("Usage"), "{program}: {about}");
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{program}: {line:?}");
        }
    }
}

#[test]
fn every_option_has_a_text() {
    for program in programs() {
        let options = options(&help(&program));
        assert!(options.iter().any(|option| option.name == "--help"), "{program}");
        for Option { name, text } in options {
            assert!(!text.trim().is_empty(), "{program} {name} has no text");
            // Its default, its unit or its values alone are none.
            assert!(!text.trim_start().starts_with('['), "{program} {name}: {text}");
            assert!(!text.trim_start().starts_with("Possible values"), "{program} {name}: {text}");
        }
    }
}

/// Those that other tests and the documents rely on.
#[test]
fn defaults_and_units_are_named() {
    for (program, option, parts) in [
        ("train_cifar", "--epochs", &["[default: "][..]),
        ("train_cifar", "--batch-size", &["[default: 128]"]),
        ("train_cifar", "--threads", &["[default: one for each core"]),
        ("train_cifar", "--device", &["[default: cpu]"]),
        ("train_cifar", "--image-size", &["ixels"]),
        ("evaluate", "--calibration", &["raining images", "[default: 2000]"]),
        ("evaluate", "--batch-size", &["[default: 128]"]),
        ("evaluate", "--dtype", &["f32", "bf16", "[default: f32]"]),
        ("evaluate", "--budget", &["MACs"]),
        ("export", "--min-open", &["[default: 0]"]),
        ("describe", "--model", &["[default: resnet20]"]),
        ("describe", "--placement", &["[default: block-output]"]),
        ("conv_throughput", "--batch", &["[default: 1 64]"]),
        ("conv_throughput", "--run", &["[default: 30]"]),
        ("model_throughput", "--model", &["[default: resnet110]"]),
        ("model_throughput", "--density", &["[default: 0.5]"]),
        ("model_throughput", "--run", &["[default: 200]"]),
    ] {
        let options = options(&help(program));
        let known = options.iter().find(|known| known.name == option);
        let text = &known.unwrap_or_else(|| panic!("{program} has no {option}")).text;
        for part in parts {
            assert!(text.contains(part), "{program} {option} does not say {part:?}: {text}");
        }
    }
    for (program, unit) in [
        ("conv_throughput", "--run <MILLISECONDS>"),
        ("conv_throughput", "--rotate <MIB>"),
        ("model_throughput", "--filters-per-gate <FILTERS>"),
        ("evaluate", "--image-size <PIXELS>"),
    ] {
        assert!(help(program).contains(unit), "{program} does not say {unit}");
    }
}
