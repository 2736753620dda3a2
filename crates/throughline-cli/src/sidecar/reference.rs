//! The reference of all options in `docs/sidecar.md`, made of their definition, and the test that holds the two together.

use clap::{Arg, ArgAction};

use crate::sidecar::file::definition;
use crate::sidecar::options::{NOT_IN_FILE, RELOADED};

const BEGIN: &str = "<!-- Made of the options' definition; UPDATE_EXPECT=1 cargo test -p throughline-cli makes it anew. -->\n";
const END: &str = "<!-- End of what is made. -->\n";

/// All options by their headings, as Markdown.
fn reference() -> String {
    let command = definition();
    let (mut text, mut heading) = (String::new(), String::new());
    for argument in command
        .get_arguments()
        .filter(|argument| argument.get_env().is_some() || is_ours(argument))
    {
        let own = argument.get_help_heading().unwrap_or_default();
        if own != heading {
            heading = own.to_owned();
            text += &format!("\n### {heading}\n");
        }
        text += &entry(argument);
    }
    text + "\n"
}

fn is_ours(argument: &Arg) -> bool {
    NOT_IN_FILE.contains(&argument.get_id().as_str())
}

fn entry(argument: &Arg) -> String {
    let key = argument.get_id().as_str();
    let flag = argument.get_long().unwrap_or_default();
    let takes_value = !matches!(argument.get_action(), ArgAction::SetTrue);
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .filter(|_| takes_value);
    let value = value.map_or_else(String::new, |name| format!(" {name}"));
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let default = argument
        .get_default_values()
        .first()
        .map(|value| value.to_string_lossy().into_owned());
    let default = default
        .filter(|_| !value.is_empty())
        .map_or_else(String::new, |value| format!(" Default: `{value}`."));
    let file = if is_ours(argument) {
        "not in the file".to_owned()
    } else {
        format!("file: `{key}`")
    };
    let variable = argument.get_env().map_or_else(
        || "no variable".to_owned(),
        |name| format!("variable: `{}`", name.to_string_lossy()),
    );
    let reload = if RELOADED.contains(&key) {
        "; **holds at once** when the file is read again"
    } else {
        ""
    };
    format!("\n**`--{flag}{value}`**: {help}.{default}<br>\n{file}, {variable}{reload}\n")
}

#[test]
fn every_option_is_in_the_reference_as_it_is_defined() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sidecar.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (front, rest) = page
        .split_once(BEGIN)
        .expect("the mark where the reference begins");
    let (old, back) = rest
        .split_once(END)
        .expect("the mark where the reference ends");
    let new = reference();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, [front, BEGIN, &new, END, back].concat()).unwrap();
    } else {
        assert!(
            old == new,
            "docs/sidecar.md is not what the options are; run this test with UPDATE_EXPECT=1"
        );
    }
}

#[test]
fn every_key_that_is_said_to_be_reloaded_exists() {
    let command = definition();
    for key in RELOADED {
        assert!(
            command
                .get_arguments()
                .any(|argument| argument.get_id() == key),
            "{key}"
        );
    }
}

#[test]
fn every_option_has_the_variable_of_its_name() {
    for argument in definition()
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
