//! The command line, with errors that say what was meant and what is expected.

use std::any::TypeId;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use clap::builder::PossibleValue;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error, Parser, ValueEnum};

/// What an option is called here: the first of these names that a program has. Without one, why
/// there is none.
type Meaning = Result<&'static [&'static str], &'static str>;

/// Names that other training programs have for an option.
const SYNONYMS: [(&[&str], Meaning); 27] = [
    (&["learning-rate", "base-lr", "init-lr", "initial-lr", "max-lr", "eta"], Ok(&["lr"])),
    (&["wd", "decay", "l2", "weight-decay-rate"], Ok(&["weight-decay"])),
    (
        &["batch", "bs", "batchsize", "mini-batch-size", "train-batch-size", "batch-per-gpu"],
        Ok(&["batch-size", "batch"]),
    ),
    (
        &["epoch", "num-epochs", "n-epochs", "nb-epochs", "max-epochs", "total-epochs"],
        Ok(&["epochs"]),
    ),
    (&["arch", "architecture", "network", "net", "backbone"], Ok(&["model", "checkpoint"])),
    (
        &["dataset", "data-dir", "data-path", "data-root", "dataset-dir", "root", "train-dir"],
        Ok(&["data"]),
    ),
    (
        &["output", "output-dir", "out-dir", "save-dir", "save-path", "log-dir", "work-dir", "o"],
        Ok(&["out"]),
    ),
    (&["workers", "num-workers", "num-threads", "n-threads", "jobs", "cores"], Ok(&["threads"])),
    (&["gpu", "gpus", "cuda", "gpu-id"], Ok(&["device"])),
    (&["lr-scheduler", "scheduler", "lr-schedule", "lr-policy", "sched"], Ok(&["schedule"])),
    (&["lr-steps", "lr-milestones", "decay-epochs", "steps", "step-size"], Ok(&["milestones"])),
    (&["lr-gamma", "lr-decay", "decay-rate", "lr-factor"], Ok(&["gamma"])),
    (&["warmup-epochs", "lr-warmup-epochs", "warmup-steps", "pct-start"], Ok(&["warmup"])),
    (
        &["clip", "clip-grad", "grad-clip", "max-grad-norm", "gradient-clip-val", "clip-norm"],
        Ok(&["clip-grad-norm"]),
    ),
    (&["model-ema", "model-ema-decay", "ema-decay", "use-ema", "swa"], Ok(&["ema"])),
    (&["smoothing", "label-smooth"], Ok(&["label-smoothing"])),
    (&["mixup-alpha", "alpha"], Ok(&["mixup"])),
    (&["cutout-length", "cutout-size"], Ok(&["cutout"])),
    (&["width-mult", "width-multiplier", "widen-factor"], Ok(&["width"])),
    (
        &["pretrained", "weights", "checkpoint", "load", "init", "finetune", "model"],
        Ok(&["checkpoint", "backbone-checkpoint"]),
    ),
    (&["manual-seed", "random-seed", "rng-seed"], Ok(&["seed"])),
    (&["continue", "start-epoch", "auto-resume"], Ok(&["resume"])),
    (&["precision", "amp", "fp16", "half"], Ok(&["dtype"])),
    (&["img-size", "input-size", "crop-size", "train-crop-size"], Ok(&["image-size"])),
    (&["force", "exist-ok"], Ok(&["overwrite"])),
    (&["momentum", "nesterov"], Err("SGD has Nesterov's momentum of 0.9 here, always")),
    (&["optimizer", "optim", "opt"], Err("SGD with Nesterov's momentum is the only optimiser")),
];

/// Width of help texts.
const COLUMNS: usize = 100;

/// What other names of networks and types are called here, in lower case and without separators.
const WORDS: [(&str, &str); 17] = [
    ("wideresnet", "wrn"),
    ("preactivationresnet", "preactresnet"),
    ("preresnet", "preactresnet"),
    ("densenetbc", "densenet"),
    ("shakeshake262x", "shakeshake26"),
    ("torchvision", ""),
    ("cifar100", ""),
    ("cifar10", ""),
    ("cifar", ""),
    ("bfloat16", "bf16"),
    ("float32", "f32"),
    ("fp32", "f32"),
    ("multistep", "step"),
    ("steplr", "step"),
    ("cosineannealing", "cosine"),
    ("cosinelr", "cosine"),
    ("onecyclelr", "onecycle"),
];

/// Writes a value as the command line takes it.
///
/// # Errors
/// Those of `f`.
pub fn write_value(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.pad(value.to_possible_value().as_ref().map_or("", PossibleValue::get_name))
}

/// The options of this process; exits where they are wrong, or ask for help.
pub fn parse<A: Parser>() -> A {
    parse_from(env::args_os()).unwrap_or_else(|error| error.exit())
}

/// The options that `words` are, of which the first is the program.
///
/// # Errors
/// What is wrong with them, or the help that they ask for.
pub fn parse_from<A: Parser>(words: impl IntoIterator<Item = OsString>) -> Result<A, Error> {
    let mut command = A::command().mut_args(with_expectation).term_width(COLUMNS);
    let matches = command.try_get_matches_from_mut(words);
    let matches = matches.map_err(|error| with_tip(error, &command))?;
    A::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Errors of numbers say which kind of number is expected.
fn with_expectation(arg: Arg) -> Arg {
    let id = arg.get_value_parser().type_id();
    let is = |other: TypeId| id == other;
    if is(TypeId::of::<usize>()) {
        arg.value_parser(whole::<usize>)
    } else if is(TypeId::of::<u64>()) {
        arg.value_parser(whole::<u64>)
    } else if is(TypeId::of::<f64>()) {
        arg.value_parser(number::<f64>)
    } else if is(TypeId::of::<f32>()) {
        arg.value_parser(number::<f32>)
    } else {
        arg
    }
}

fn whole<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        if *error.kind() == IntErrorKind::PosOverflow {
            return "too large".to_owned();
        }
        match text.parse::<f64>() {
            Ok(x) if x < 0.0 => "expected a whole number, 0 or more".to_owned(),
            Ok(x) if x.fract() == 0.0 && x < 1e15 => {
                format!("expected a whole number, written {x}")
            }
            _ => "expected a whole number".to_owned(),
        }
    })
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a number".to_owned())
}

/// The option that `name`, without dashes, stands for elsewhere, or why there is none; nothing if
/// it is not known.
pub fn meant(name: &str, command: &Command) -> Option<Result<String, &'static str>> {
    let name = name.to_lowercase().replace('_', "-");
    let has = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
    if has(&name) {
        return Some(Ok(name));
    }
    let (_, here) = SYNONYMS.iter().find(|(names, _)| names.contains(&name.as_str()))?;
    match here {
        Ok(names) => names.iter().find(|name| has(name)).map(|name| Ok((*name).to_owned())),
        Err(why) => Some(Err(why)),
    }
}

/// The one of `valid` that `value` is elsewhere.
pub fn meant_value<'a>(value: &str, mut valid: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' ', '.'], "");
    let mut value = plain(value);
    for (word, here) in WORDS {
        value = value.replace(word, here);
    }
    let end = value.strip_suffix('d').unwrap_or(&value).to_owned();
    let large = format!("imagenet{}", value.replace("imagenet", ""));
    valid.find(|name| [&value, &end, &large].contains(&&plain(name)))
}

/// The error with the tip that this program can give.
fn with_tip(mut error: Error, command: &Command) -> Error {
    let text = |error: &Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let name = text(&error, ContextKind::InvalidArg).unwrap_or_default();
            let name = name.trim_start_matches('-').split('=').next().unwrap_or_default();
            match meant(name, command) {
                Some(Ok(name)) => {
                    let name = ContextValue::String(format!("--{name}"));
                    error.insert(ContextKind::SuggestedArg, name);
                }
                Some(Err(why)) => {
                    error.remove(ContextKind::SuggestedArg);
                    let why = ContextValue::StyledStrs(vec![why.into()]);
                    error.insert(ContextKind::Suggested, why);
                }
                None => {}
            }
        }
        ErrorKind::InvalidValue => {
            let value = text(&error, ContextKind::InvalidValue).unwrap_or_default();
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(valid)) => valid.clone(),
                _ => Vec::new(),
            };
            if let Some(name) = meant_value(&value, valid.iter().map(String::as_str)) {
                let name = ContextValue::String(name.to_owned());
                error.insert(ContextKind::SuggestedValue, name);
            }
        }
        _ => {}
    }
    error
}
