//! The options of a run: from the command line, the file of `--config`, and, where a run goes on,
//! those that it was begun with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};
use gaternet::core::checkpoint::Checkpoint;
use gaternet::models::train::{OPTIONS, RunFolder};

use crate::args::Args;
use crate::config_file;

/// Options that do not change the results of a run, or that may change when it goes on.
const FREE: [&str; 13] = [
    "classes_by_name",
    "config",
    "dir",
    "download",
    "dry_run",
    "epochs",
    "out",
    "overwrite",
    "repeat",
    "resume",
    "skip_bad",
    "stop_after",
    "threads",
];

/// Of these, those that a run that goes on takes from its beginning if they are not given.
const REMEMBERED: [&str; 4] = ["dir", "epochs", "repeat", "skip_bad"];

/// Options as they were given, each as `--name` or `--name=value`, for the files of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Options(Vec<String>);

impl Options {
    /// Those that say what a run is.
    fn of(matches: &ArgMatches) -> Options {
        let command = Args::command();
        let mut options = Vec::new();
        for arg in command.get_arguments() {
            let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
            let stored = !FREE.contains(&id) || REMEMBERED.contains(&id);
            if !stored || matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            match arg.get_action() {
                ArgAction::SetTrue => options.push(format!("--{long}")),
                _ => {
                    let separator = arg.get_value_delimiter().map(String::from);
                    let values: Vec<_> = values(matches, arg);
                    match separator {
                        Some(separator) => {
                            options.push(format!("--{long}={}", values.join(&separator)));
                        }
                        None => {
                            options.extend(values.iter().map(|value| format!("--{long}={value}")))
                        }
                    }
                }
            }
        }
        Options(options)
    }

    /// Whether they say more than a seed about what is trained.
    fn asks_for_something(&self) -> bool {
        self.0.iter().any(|option| !option.starts_with("--seed="))
    }

    pub(crate) fn words(&self) -> &[String] {
        &self.0
    }

    /// Of the run in `file`; `None` if it does not say.
    fn of_file(file: &Checkpoint) -> Result<Option<Options>> {
        let Some(text) = file.metadata.get(OPTIONS) else { return Ok(None) };
        let options = serde_json::from_str(text);
        let options = options
            .with_context(|| format!("{}: metadata options = {text:?}", file.path.display()))?;
        Ok(Some(Options(options)))
    }

    /// Those of the plain network of the same recipe.
    pub(crate) fn plain(&self) -> Options {
        let command = Args::command();
        let excluded = |option: &String| {
            let name = option.trim_start_matches("--").split('=').next();
            let arg = command.get_arguments().find(|arg| arg.get_long() == name);
            arg.is_some_and(|arg| {
                let excluded = command.get_arg_conflicts_with(arg);
                excluded.iter().any(|other| other.get_id() == "dense")
            })
        };
        let mut options: Vec<_> =
            self.0.iter().filter(|option| !excluded(option)).cloned().collect();
        options.push("--dense".to_owned());
        Options(options)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is trained if nothing is asked for.
const FIRST_RUN: &str = include_str!("../../recipes/first-run.toml");

/// What the user asks for.
pub(crate) fn parse() -> Result<(Args, Options)> {
    let arguments = config_file::arguments()?;
    let given = Args::command().get_matches_from(&arguments);
    let args = Args::from_arg_matches(&given)?;
    let out = args.existing_out_dir();
    let begun = if args.run.resume { begun_with(&out)? } else { None };
    let Some((file, begun)) = begun else {
        if !Options::of(&given).asks_for_something() {
            let arguments = config_file::with_configuration("recipes/first-run.toml", FIRST_RUN)?;
            let first = Args::command().get_matches_from(&arguments);
            return Ok((Args::from_arg_matches(&first)?, Options::of(&first)));
        }
        return Ok((args, Options::of(&given)));
    };
    let matches = Args::command().try_get_matches_from(with_program(&begun, &[]));
    let begun_matches = matches.with_context(|| {
        format!("cannot resume: the options in {} are not those of this program", file.display())
    })?;
    let added = added(&given, &begun_matches, &file)?;
    // Once more, so that what excludes each other is found.
    let all = Args::command().get_matches_from(with_program(&begun, &added));
    let mut args = Args::from_arg_matches(&all)?;
    args.run.out = Some(out);
    Ok((args, Options::of(&all)))
}

/// The options that the run in a folder, or the first one below it, was begun with, and the file
/// that says so.
fn begun_with(out: &Path) -> Result<Option<(PathBuf, Options)>> {
    let mut folders = vec![out.to_path_buf()];
    if let Ok(entries) = std::fs::read_dir(out) {
        let mut below: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        below.retain(|path| path.is_dir());
        below.sort();
        folders.extend(below);
    }
    for folder in folders {
        let folder = RunFolder::new(&folder);
        for path in [folder.state_path(), folder.model_path(), folder.gater_path()] {
            if path.exists()
                && let Some(options) = Options::of_file(&Checkpoint::load(&path)?)?
            {
                return Ok(Some((path, options)));
            }
        }
    }
    Ok(None)
}

/// The options in `given` that are not in `begun`; `Err` naming one that is there with another
/// value and decides the results.
fn added(given: &ArgMatches, begun: &ArgMatches, file: &Path) -> Result<Vec<String>> {
    let command = Args::command();
    let mut added = Vec::new();
    for arg in command.get_arguments() {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        if given.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let [here, there] = [given, begun].map(|matches| values(matches, arg));
        let same = here.len() == there.len()
            && here.iter().zip(&there).all(|(here, there)| same(here, there));
        if !FREE.contains(&id) {
            if same {
                continue;
            }
            // Without a value there the default may be the same: what decides is the identity.
            if !there.is_empty() {
                let [here, there] = [here, there].map(|values| values.join(","));
                let switch = matches!(arg.get_action(), ArgAction::SetTrue);
                let text = match switch {
                    true => format!("without --{long}"),
                    false => format!("with --{long} {there}, not {here}"),
                };
                bail!(
                    "cannot resume: the run of {} was begun {text}; leave the option out, or \
                     choose another --out",
                    file.display()
                );
            }
        }
        match arg.get_action() {
            ArgAction::SetTrue => added.push(format!("--{long}")),
            _ => added.extend(here.iter().map(|value| format!("--{long}={value}"))),
        }
    }
    Ok(added)
}

/// The values of an option as they were typed, but each word by its present name, or the default.
fn values(matches: &ArgMatches, arg: &Arg) -> Vec<String> {
    let possible = arg.get_possible_values();
    let raw = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    raw.map(|value| {
        let text = value.to_string_lossy();
        let known = possible.iter().find(|value| value.matches(&text, arg.is_ignore_case_set()));
        known.map_or(text.into_owned(), |value| value.get_name().to_owned())
    })
    .collect()
}

fn same(one: &str, other: &str) -> bool {
    let numbers = [one, other].map(|text| text.parse::<f64>().ok());
    one == other || numbers[0].is_some() && numbers[0] == numbers[1]
}

fn with_program(begun: &Options, added: &[String]) -> Vec<OsString> {
    let program = std::env::args_os().next().unwrap_or_default();
    let options = begun.0.iter().chain(added).map(OsString::from);
    std::iter::once(program).chain(options).collect()
}
