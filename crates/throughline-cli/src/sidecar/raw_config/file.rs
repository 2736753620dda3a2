//! The configuration file: YAML whose keys are the options' names with `_` for `-`.

use std::collections::BTreeMap;

use clap::{ArgAction, Command};
use serde_json::{Map, Value};

use crate::args::sidecar::{NOT_IN_FILE, RENAMED};

/// Options whose values are lists in YAML.
const YAML_OPTIONS: [&str; 2] = ["topics", "correlation_keys"];

/// Values of a configuration file, as text that could be typed as arguments.
#[derive(Debug, Default)]
pub(super) struct FileValues {
    /// Values by configuration key; [`None`] for a switch that is on.
    pub(super) values: BTreeMap<String, Option<String>>,
    /// Keys that are written under a former name, each with the present one.
    pub(super) renamed: Vec<(String, String)>,
}

/// Parses a configuration file. A switch that is off is left out.
///
/// # Errors
/// The syntax error, or all errors in keys and the form of values.
pub(super) fn parse_values(
    path: &str,
    text: &str,
    command: &Command,
) -> Result<FileValues, Vec<String>> {
    // An empty file is null in YAML, and valid.
    let map: Map<String, Value> = match serde_saphyr::from_str::<Option<Map<String, Value>>>(text) {
        Ok(map) => map.unwrap_or_default(),
        Err(error) => return Err(vec![format!("{path}: {}", error.to_string().trim_end())]),
    };
    let (mut parsed, mut errors) = (FileValues::default(), Vec::new());
    for (written, value) in map {
        let key = parsed.present_key(&written);
        let Some(is_switch) = is_switch(command, &key) else {
            errors.push(unknown_key_error(path, &written, command));
            continue;
        };
        let value = match (is_switch, value) {
            // A key without a value keeps the default, as if it were not there.
            (_, Value::Null) | (true, Value::Bool(false)) => continue,
            (true, Value::Bool(true)) => None,
            (true, _) => {
                errors.push(format!(
                    "{path}: {written} is a switch; write true or false"
                ));
                continue;
            }
            (false, value) => match value_text(&key, value) {
                Some(text) => Some(text),
                None => {
                    errors.push(format!(
                        "{path}: {written} has a nested value; write it in one line"
                    ));
                    continue;
                }
            },
        };
        // YAML rejects duplicate keys, but not the same option under two names.
        if parsed.values.insert(key.clone(), value).is_some() {
            errors.push(format!(
                "{path}: {key} is set twice, once under its former name; remove one of the two"
            ));
        }
    }
    // All errors of the file at once, as for arguments.
    if errors.is_empty() {
        Ok(parsed)
    } else {
        Err(errors)
    }
}

// === impl FileValues ===

impl FileValues {
    /// Returns the present name of a key, and records it if it was renamed.
    fn present_key(&mut self, key: &str) -> String {
        let Some((_, present)) = RENAMED.iter().find(|(former, _)| *former == key) else {
            return key.to_owned();
        };
        self.renamed.push((key.to_owned(), (*present).to_owned()));
        (*present).to_owned()
    }
}

/// Whether the key is a switch; [`None`] if a file cannot set it.
fn is_switch(command: &Command, key: &str) -> Option<bool> {
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_id() == key)
        .filter(|_| !NOT_IN_FILE.contains(&key) && key != "help")?;
    Some(matches!(argument.get_action(), ArgAction::SetTrue))
}

/// Returns a value as it would be typed, or [`None`] for a nested one. Plain lists are joined by
/// commas; lists of maps stay YAML, in its JSON subset.
fn value_text(key: &str, value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ if YAML_OPTIONS.contains(&key) => Some(value.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values
                .into_iter()
                .map(|value| value_text("", value))
                .collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn unknown_key_error(path: &str, key: &str, command: &Command) -> String {
    let keys = command
        .get_arguments()
        .map(|argument| argument.get_id().as_str());
    let nearest = keys
        // A suggestion that the file cannot contain would mislead.
        .filter(|known| !NOT_IN_FILE.contains(known))
        .min_by_key(|known| edit_distance(known, key));
    // A quarter of the letters may be wrong; beyond that a suggestion would be a guess.
    match nearest.filter(|nearest| edit_distance(nearest, key) <= 1 + key.len() / 4) {
        Some(nearest) => format!("{path}: unknown key {key}; did you mean {nearest}?"),
        None => {
            format!("{path}: unknown key {key}; see throughline sidecar --help, and write _ for -")
        }
    }
}

/// Returns the number of letters to add, remove or replace (Levenshtein).
fn edit_distance(one: &str, other: &str) -> usize {
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
