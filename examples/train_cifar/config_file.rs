//! The command line together with the file of `--config`.

use std::any::TypeId;
use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result, anyhow, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command, CommandFactory};
use gaternet::cli::command_line::{self, meant, meant_value, parse_from};
use toml::de::{DeTable, DeValue};

use crate::args::Args;

/// The command line; options that it lacks come from the file of `--config`, unless they contradict
/// it.
pub(crate) fn arguments() -> Result<Vec<OsString>> {
    let args: Args = command_line::parse();
    let Some(path) = &args.run.config else { return Ok(std::env::args_os().collect()) };
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| cannot_use(&name))?;
    with_configuration(&name, &text)
}

fn cannot_use(name: &str) -> String {
    format!("cannot use the configuration {name}")
}

/// The command line; options that it lacks come from `text`, the file `name`, unless they
/// contradict it.
pub(crate) fn with_configuration(name: &str, text: &str) -> Result<Vec<OsString>> {
    let command = Args::command();
    let matches = command.clone().get_matches();
    let context = || cannot_use(name);
    let mut from_file = options_of_file(&command, text).with_context(context)?;
    let program = || std::env::args_os().take(1);
    let options = |from_file: &[(&Arg, OsString)]| -> Vec<OsString> {
        from_file.iter().map(|(_, option)| option.clone()).collect()
    };
    // Alone first: a bad value is then the file's.
    parse_from::<Args>(program().chain(options(&from_file))).with_context(context)?;
    let given = command.get_arguments().filter(|arg| {
        matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    for given in given {
        from_file.retain(|(arg, _)| {
            let excludes = |one, other: &Arg| {
                let excluded = command.get_arg_conflicts_with(one);
                excluded.iter().any(|arg| arg.get_id() == other.get_id())
            };
            arg.get_id() != given.get_id() && !excludes(given, arg) && !excludes(arg, given)
        });
    }
    let command_line = std::env::args_os().skip(1);
    Ok(program().chain(options(&from_file)).chain(command_line).collect())
}

/// What an option takes that takes numbers.
enum Number {
    Whole,
    Any,
}

fn number_of(arg: &Arg) -> Option<Number> {
    let id = arg.get_value_parser().type_id();
    let is = |types: [TypeId; 2]| types.iter().any(|other| id == *other);
    if is([TypeId::of::<usize>(), TypeId::of::<u64>()]) {
        return Some(Number::Whole);
    }
    is([TypeId::of::<f64>(), TypeId::of::<f32>()]).then_some(Number::Any)
}

/// The keys of a TOML file as options of the command line, in the order of the file.
fn options_of_file<'a>(command: &'a Command, text: &str) -> Result<Vec<(&'a Arg, OsString)>> {
    let table = DeTable::parse(text)?.into_inner();
    let mut options = Vec::new();
    for (key, value) in in_order(&table) {
        let mut known = command.get_arguments().filter(|arg| arg.get_id() != "config");
        let arg = known.find(|arg| is_named(arg, key));
        let arg = arg.ok_or_else(|| unknown(command, key))?;
        if let (DeValue::Table(entries), ArgAction::Append) = (value, arg.get_action()) {
            for (pattern, value) in in_order(entries) {
                let Some(value) = value.as_str() else {
                    bail!("`{key}.\"{pattern}\" = {}`: expected a string", shown(value));
                };
                options.push((arg, format!("--{key}={pattern}={value}").into()));
            }
            continue;
        }
        if !arg.get_action().takes_values() {
            match value {
                DeValue::Boolean(true) => options.push((arg, format!("--{key}").into())),
                DeValue::Boolean(false) => {}
                _ => bail!("`{key} = {}`: expected true or false", shown(value)),
            }
            continue;
        }
        let several = arg.get_value_delimiter().is_some();
        let words: Option<Vec<String>> = match value {
            DeValue::Array(values) if several => {
                values.iter().map(|value| word(arg, value.get_ref())).collect()
            }
            value => word(arg, value).map(|word| vec![word]),
        };
        let Some(words) = words else {
            bail!("`{key} = {}`: expected {}", shown(value), expected(arg, value, several));
        };
        options.push((arg, format!("--{key}={}", words.join(",")).into()));
    }
    Ok(options)
}

/// The entries of a table as they are written.
fn in_order<'a>(table: &'a DeTable<'_>) -> Vec<(&'a str, &'a DeValue<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref())).collect()
}

/// Whether `name` is that of an option, or one that it had in earlier versions.
fn is_named(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name)
        || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

/// A value as the command line has it, if it is of the type that the option takes.
fn word(arg: &Arg, value: &DeValue<'_>) -> Option<String> {
    match (value, number_of(arg)) {
        (DeValue::Integer(number), Some(_)) => {
            let digits = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(digits.to_string())
        }
        (DeValue::Float(number), Some(Number::Any)) => Some(number.as_str().to_owned()),
        (DeValue::String(text), number) => {
            let fits = match number {
                None => arg.get_possible_values().is_empty() || possible(arg, text),
                Some(Number::Whole) => text.parse::<u64>().is_ok(),
                Some(Number::Any) => text.parse::<f64>().is_ok(),
            };
            fits.then(|| text.to_string())
        }
        _ => None,
    }
}

fn possible(arg: &Arg, text: &str) -> bool {
    arg.get_possible_values().iter().any(|value| value.matches(text, false))
}

/// What an option takes, where it is not `value`.
fn expected(arg: &Arg, value: &DeValue<'_>, several: bool) -> String {
    let values = arg.get_possible_values();
    let names = || values.iter().map(|value| value.get_name());
    let one = match number_of(arg) {
        Some(Number::Whole) => "a whole number".to_owned(),
        Some(Number::Any) => "a number".to_owned(),
        None if values.is_empty() => "a string".to_owned(),
        None => {
            let nearest = value.as_str().and_then(|text| {
                let nearest =
                    || names().max_by(|a, b| likeness(a, text).total_cmp(&likeness(b, text)));
                meant_value(text, names()).or_else(nearest)
            });
            let nearest = nearest.map(|name| format!("; the nearest is \"{name}\""));
            let shown: Vec<_> = names().take(10).map(|name| format!("\"{name}\"")).collect();
            let more = match values.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("one of {}{more}{}", shown.join(", "), nearest.unwrap_or_default())
        }
    };
    if several { format!("{one}, or a list of them") } else { one }
}

fn unknown(command: &Command, key: &str) -> anyhow::Error {
    if key == "config" {
        return anyhow!("unknown key `config`: a file takes no options from another");
    }
    let nearest = match meant(key, command) {
        Some(Err(why)) => return anyhow!("unknown key `{key}`: {why}"),
        Some(Ok(name)) => Some(name),
        None => {
            let names = command.get_arguments().filter_map(Arg::get_long);
            let names = names.filter(|name| likeness(name, key) > 0.5);
            let nearest = names.max_by(|a, b| likeness(a, key).total_cmp(&likeness(b, key)));
            nearest.map(str::to_owned)
        }
    };
    match nearest {
        Some(name) => anyhow!("unknown key `{key}`; the nearest is `{name}`"),
        None => anyhow!("unknown key `{key}`; train_cifar --help lists what there is"),
    }
}

/// 0 to 1.
fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

/// A value much as it is written.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| shown(value.get_ref())).collect();
            format!("[{}]", values.join(", "))
        }
        DeValue::Table(_) => "{ ... }".to_owned(),
    }
}
