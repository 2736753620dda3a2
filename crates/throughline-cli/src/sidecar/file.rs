//! The file of options: YAML whose keys are the options' names with `_` for `-`.
//!
//! What the file says becomes arguments in front of those that were typed, unless an argument or a variable says the same; then
//! everything is parsed again. So flags, variables and file have one definition and one way.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use serde_json::{Map, Value};

use crate::args::Args;
use crate::sidecar::options::{NOT_IN_FILE, Sidecar};

/// What the sidecar was told, from everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) options: Sidecar,
    /// Where each value that is no default comes from, by the option's key.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// The file as it was read, if there is one.
    pub(crate) file: Option<String>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Argument,
    Variable(String),
    File,
}

impl Told {
    /// Brings together arguments, variables and the file that they name, if any.
    ///
    /// # Errors
    /// All mistakes of the file that show before its values are understood.
    pub(crate) fn new(arguments: &[OsString]) -> Result<Self, Vec<String>> {
        let (options, matches) = parse(arguments).map_err(|error| vec![error.to_string()])?;
        let mut origins = origins(&matches);
        let Some(path) = options.config.clone() else {
            return Ok(Self {
                options,
                origins,
                file: None,
            });
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| vec![format!("--config {path}: cannot be read: {error}")])?;
        let given = values(&path, &text)?;
        let given: BTreeMap<_, _> = given
            .into_iter()
            .filter(|(key, _)| !origins.contains_key(key))
            .collect();
        let arguments = with(arguments, &given);
        let (options, _) = parse(&arguments).map_err(|error| vec![format!("{path}: {error}")])?;
        origins.extend(given.into_keys().map(|key| (key, Origin::File)));
        Ok(Self {
            options,
            origins,
            file: Some(text),
        })
    }

    /// An option as the person who set it knows it.
    pub(crate) fn name(&self, key: &str) -> String {
        match self.origins.get(key) {
            Some(Origin::Variable(name)) => name.clone(),
            Some(Origin::File) => format!(
                "{key} in {}",
                self.options.config.as_deref().unwrap_or("the file")
            ),
            Some(Origin::Argument) | None => flag(key),
        }
    }

    /// Whether anybody has set it.
    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }
}

/// The flag of a key.
pub(crate) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

fn parse(arguments: &[OsString]) -> Result<(Sidecar, ArgMatches), clap::Error> {
    let matches = Args::command().try_get_matches_from(arguments)?;
    let matches = matches
        .subcommand_matches(NAME)
        .cloned()
        .unwrap_or_default();
    Ok((Sidecar::from_arg_matches(&matches)?, matches))
}

fn origins(matches: &ArgMatches) -> BTreeMap<String, Origin> {
    let command = definition();
    let origin = |key: &str| match matches.value_source(key)? {
        ValueSource::CommandLine => Some(Origin::Argument),
        ValueSource::EnvVariable => {
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_id() == key)?;
            Some(Origin::Variable(
                argument.get_env()?.to_string_lossy().into_owned(),
            ))
        }
        ValueSource::DefaultValue | _ => None,
    };
    let ids = matches.ids().map(|id| id.as_str());
    ids.filter_map(|key| Some((key.to_owned(), origin(key)?)))
        .collect()
}

/// The definition of the command, with its options.
pub(crate) fn definition() -> Command {
    Args::command()
        .find_subcommand(NAME)
        .cloned()
        .unwrap_or_default()
}

/// The keys and values of the file as text, as they would stand on the command line. A switch that is off is left out.
fn values(path: &str, text: &str) -> Result<BTreeMap<String, Option<String>>, Vec<String>> {
    let map: Map<String, Value> = match serde_saphyr::from_str::<Option<Map<String, Value>>>(text) {
        Ok(map) => map.unwrap_or_default(),
        Err(error) => return Err(vec![format!("{path}: {}", error.to_string().trim_end())]),
    };
    let command = definition();
    let (mut values, mut mistakes) = (BTreeMap::new(), Vec::new());
    for (key, value) in map {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_id() == key.as_str());
        let Some(argument) =
            argument.filter(|_| !NOT_IN_FILE.contains(&key.as_str()) && key != "help")
        else {
            mistakes.push(unknown(path, &key, &command));
            continue;
        };
        let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
        match (is_switch, value) {
            (_, Value::Null) | (true, Value::Bool(false)) => {}
            (true, Value::Bool(true)) => drop(values.insert(key, None)),
            (true, _) => mistakes.push(format!("{path}: {key} is a switch; write true or false")),
            (false, value) => match plain(&key, value) {
                Some(text) => drop(values.insert(key, Some(text))),
                None => mistakes.push(format!(
                    "{path}: {key} has a value within a value; write it in one line"
                )),
            },
        }
    }
    if mistakes.is_empty() {
        Ok(values)
    } else {
        Err(mistakes)
    }
}

/// A value as one would type it. Lists of plain values are joined by commas; others stay as they are, in YAML's stricter form.
fn plain(key: &str, value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ if IN_YAML.contains(&key) => Some(value.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> =
                values.into_iter().map(|value| plain("", value)).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn unknown(path: &str, key: &str, command: &Command) -> String {
    let keys = command
        .get_arguments()
        .map(|argument| argument.get_id().as_str());
    let near = keys
        .filter(|known| !NOT_IN_FILE.contains(known))
        .min_by_key(|known| distance(known, key));
    match near.filter(|near| distance(near, key) <= 1 + key.len() / 4) {
        Some(near) => format!("{path}: there is no key {key}; did you mean {near}?"),
        None => format!(
            "{path}: there is no key {key}; see throughline sidecar --help, and write _ for -"
        ),
    }
}

/// How many letters one would have to add, remove or replace (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.bytes().enumerate() {
        let mut next = vec![above + 1];
        for ((old, pair), wanted) in row.iter().zip(row.iter().skip(1)).zip(other.bytes()) {
            let left = next.last().copied().unwrap_or_default();
            next.push(
                (old + usize::from(letter != wanted))
                    .min(pair + 1)
                    .min(left + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// The arguments with those of the file right behind the command's name.
fn with(arguments: &[OsString], given: &BTreeMap<String, Option<String>>) -> Vec<OsString> {
    let place = arguments
        .iter()
        .position(|argument| argument == NAME)
        .map_or(arguments.len(), |place| place + 1);
    let (front, rest) = arguments
        .split_at_checked(place)
        .unwrap_or((arguments, &[]));
    let ours = given.iter().map(|(key, value)| match value {
        Some(value) => OsString::from(format!("{}={value}", flag(key))),
        None => OsString::from(flag(key)),
    });
    front
        .iter()
        .cloned()
        .chain(ours)
        .chain(rest.iter().cloned())
        .collect()
}

const NAME: &str = "sidecar";
/// Options whose values are lists in YAML.
const IN_YAML: [&str; 2] = ["topics", "keys"];

#[cfg(test)]
mod tests;
