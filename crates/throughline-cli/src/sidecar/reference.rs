//! The option reference in `docs/sidecar.md`, generated from the options' definition, and the test
//! that keeps the two the same.

use clap::{Arg, ArgAction};

use crate::args::sidecar::{NOT_IN_FILE, RELOADABLE, RENAMED};
use crate::sidecar::raw_config::command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sidecar.md");
const BEGIN: &str = "<!-- Generated from the options' definition. To update:\n     \
                     UPDATE_EXPECT=1 cargo test -p throughline-cli -->\n";
const END: &str = "<!-- End of the generated part. -->\n";
const WIDTH: usize = 100;

/// Returns all options by heading, as Markdown.
fn reference() -> String {
    let command = command();
    let (mut text, mut heading) = (String::new(), String::new());
    for argument in command
        .get_arguments()
        .filter(|argument| argument.get_env().is_some() || is_not_in_file(argument))
    {
        let own = argument.get_help_heading().unwrap_or_default();
        if own != heading {
            assert!(
                !text.contains(&format!("\n### {own}\n")),
                "options under the heading {own} are not next to each other"
            );
            heading = own.to_owned();
            text += &format!("\n### {heading}\n");
        }
        text += &entry(argument);
    }
    text + "\n"
}

fn is_not_in_file(argument: &Arg) -> bool {
    NOT_IN_FILE.contains(&argument.get_id().as_str())
}

fn entry(argument: &Arg) -> String {
    let key = argument.get_id().as_str();
    let option = argument.get_long().unwrap_or_default();
    let takes_value = !matches!(argument.get_action(), ArgAction::SetTrue);
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .filter(|_| takes_value);
    let value = value.map_or_else(String::new, |name| format!(" {name}"));
    let mut notes = Vec::new();
    let default = argument
        .get_default_values()
        .first()
        .filter(|_| takes_value);
    notes.extend(default.map(|value| format!("Default: `{}`", value.to_string_lossy())));
    if !is_not_in_file(argument) {
        notes.push(format!("Key: `{key}`"));
    }
    let variable = argument.get_env();
    notes.extend(variable.map(|name| format!("Variable: `{}`", name.to_string_lossy())));
    if RELOADABLE.contains(&key) {
        notes.push("Reloadable".to_owned());
    }
    let former = RENAMED.iter().find(|(_, present)| *present == key);
    notes
        .extend(former.map(|(former, _)| format!("Former name: `--{}`", former.replace('_', "-"))));
    let text = paragraphs(argument).join(" ");
    // A backslash at the end of a line is a hard line break.
    let text = wrap(&format!("**`--{option}{value}`**: {text}"), WIDTH - 1);
    if notes.is_empty() {
        return format!("\n{text}");
    }
    let notes = wrap(&format!("{}.", notes.join(" · ")), WIDTH);
    format!("\n{}\\\n{notes}", text.trim_end())
}

/// Returns the paragraphs of the help, each ending with a full stop.
fn paragraphs(argument: &Arg) -> Vec<String> {
    let help = argument
        .get_long_help()
        .or_else(|| argument.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    help.split("\n\n")
        .map(|text| format!("{}.", text.trim().trim_end_matches('.')))
        .collect()
}

/// Wraps text at a width in bytes.
fn wrap(text: &str, width: usize) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines += &format!("{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[test]
fn reference_page_matches_the_options() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (front, rest) = page
        .split_once(BEGIN)
        .expect("the mark where the generated part begins");
    let (old, back) = rest
        .split_once(END)
        .expect("the mark where the generated part ends");
    let new = reference();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(PAGE, [front, BEGIN, &new, END, back].concat()).unwrap();
    } else {
        assert!(
            old == new,
            "docs/sidecar.md differs from the options; run this test with UPDATE_EXPECT=1"
        );
    }
}

#[test]
fn every_reloadable_key_exists() {
    let command = command();
    for key in RELOADABLE {
        assert!(
            command
                .get_arguments()
                .any(|argument| argument.get_id() == key),
            "{key}"
        );
    }
}

#[test]
fn every_variable_has_the_name_of_its_option() {
    for argument in command()
        .get_arguments()
        .filter(|argument| argument.get_env().is_some())
    {
        let expected = format!(
            "THROUGHLINE_SIDECAR_{}",
            argument.get_id().as_str().to_ascii_uppercase()
        );
        assert_eq!(argument.get_env().unwrap().to_string_lossy(), expected);
    }
}
