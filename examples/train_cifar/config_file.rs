//! The command line together with the file of `--config`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, Parser};
use toml::{Table, Value};

use crate::args::Args;

/// The command line; options that it lacks come from the file of `--config`, unless they contradict it.
pub(crate) fn arguments() -> Result<Vec<OsString>> {
    let command = Args::command();
    let matches = command.clone().get_matches();
    let args = Args::from_arg_matches(&matches)?;
    let Some(path) = &args.run.config else { return Ok(std::env::args_os().collect()) };
    let context = || format!("cannot use the configuration {}", path.display());
    let mut from_file = options_of_file(&command, path).with_context(context)?;
    let program = || std::env::args_os().take(1);
    let options = |from_file: &[(&Arg, OsString)]| -> Vec<OsString> {
        from_file.iter().map(|(_, option)| option.clone()).collect()
    };
    // Alone first: a bad value is then the file's.
    Args::try_parse_from(program().chain(options(&from_file))).with_context(context)?;
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

/// The keys of a TOML file as options of the command line.
fn options_of_file<'a>(command: &'a Command, path: &Path) -> Result<Vec<(&'a Arg, OsString)>> {
    let table: Table = fs::read_to_string(path)?.parse()?;
    let known = || command.get_arguments().filter(|arg| arg.get_id() != "config");
    let mut options = Vec::new();
    for (key, value) in &table {
        let Some(arg) = known().find(|arg| arg.get_long() == Some(key)) else {
            let names = known().filter_map(Arg::get_long);
            let nearest = names.min_by_key(|name| strsim::damerau_levenshtein(name, key));
            bail!("unknown key `{key}`; the nearest is `{}`", nearest.unwrap_or_default());
        };
        if let (Value::Table(entries), ArgAction::Append) = (value, arg.get_action()) {
            for (pattern, value) in entries {
                let Some(value) = value.as_str() else {
                    bail!("`{key}.\"{pattern}\" = {value}`: expected a string");
                };
                options.push((arg, format!("--{key}={pattern}={value}").into()));
            }
            continue;
        }
        let option = match (value, arg.get_action().takes_values()) {
            (Value::Boolean(true), false) => format!("--{key}"),
            (Value::Boolean(false), false) => continue,
            (Value::String(text), true) => format!("--{key}={text}"),
            (Value::Integer(_) | Value::Float(_), true) => format!("--{key}={value}"),
            (Value::Array(values), true) if arg.get_value_delimiter().is_some() => {
                let values: Vec<_> = values.iter().map(Value::to_string).collect();
                format!("--{key}={}", values.join(","))
            }
            (_, true) => bail!("`{key} = {value}`: expected a number or a string"),
            (_, false) => bail!("`{key} = {value}`: expected true or false"),
        };
        options.push((arg, option.into()));
    }
    Ok(options)
}
