//! What a source file must look like: documented, small, honestly named, and free of the machine it was written on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Longest Rust file, without its tests.
const LINES: usize = 600;

/// Words that say nothing, in the names of types and modules.
const EMPTY_WORDS: [&str; 7] = [
    "Manager", "Helper", "Util", "Common", "Base", "Data", "Info",
];

/// Names that a specification gave.
const BORROWED: [&str; 1] = ["TracesData"]; // OTLP

pub(super) fn check(root: &Path, files: &[String]) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in files {
        let path = root.join(file);
        // Gone from the disk and not yet from git.
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {file}"))?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        broken.extend(
            in_file(root, file, &text)
                .into_iter()
                .map(|rule| format!("{file}: {rule}")),
        );
    }
    Ok(broken)
}

/// The rules that this file breaks.
fn in_file(root: &Path, file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if text.contains(&format!("{}/", root.display())) {
        broken.push("names a path of the machine it was written on".to_owned());
    }
    if file.ends_with("Cargo.toml") && text.contains("[package]") && !file.starts_with("fuzz/") {
        let inherits = text
            .split("[lints]")
            .nth(1)
            .is_some_and(|rest| rest.trim_start().starts_with("workspace = true"));
        if !inherits {
            broken.push("does not inherit the lints: [lints] workspace = true".to_owned());
        }
    }
    if Path::new(file)
        .extension()
        .is_some_and(|extension| extension == "rs")
    {
        broken.extend(in_rust(file, text));
    }
    broken
}

fn in_rust(file: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    // Below tests/ there is no other way: tests/foo.rs is a test program.
    if file.ends_with("/mod.rs") && !is_test(file) {
        broken.push("a module is foo.rs and foo/, not foo/mod.rs".to_owned());
    }
    // The tests of a module in a file of their own say by their name what they are.
    if !text.starts_with("//!") && !file.ends_with("/tests.rs") {
        broken.push("does not open with `//!`: what it is, what it is not".to_owned());
    }
    let lines = lines_without_tests(file, text);
    if lines > LINES {
        broken.push(format!(
            "has {lines} lines without its tests; {LINES} is the most"
        ));
    }
    for name in text
        .lines()
        .filter_map(declared_name)
        .filter(|name| !BORROWED.contains(name))
    {
        if let Some(word) = words(name)
            .into_iter()
            .find(|word| EMPTY_WORDS.contains(&word.as_str()))
        {
            broken.push(format!("the name {name} says {word}, which says nothing"));
        }
    }
    broken
}

/// Lines up to the unit tests; none in a file that holds nothing but tests.
fn lines_without_tests(file: &str, text: &str) -> usize {
    if is_test(file) {
        0
    } else {
        text.lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count()
    }
}

fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs")
        || file
            .split('/')
            .any(|part| ["tests", "benches"].contains(&part))
}

/// The name that a line declares for a type, a trait or a module. Associated types have the names of their traits.
fn declared_name(line: &str) -> Option<&str> {
    if line.trim_start().starts_with("//") {
        return None;
    }
    let mut tokens = line
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|token| !token.is_empty());
    let keyword = tokens.find(|token| !["pub", "crate", "super", "in", "self"].contains(token))?;
    if ["struct", "enum", "trait", "mod", "union"].contains(&keyword) {
        tokens.next()
    } else {
        None
    }
}

/// The words of a name in camel or snake case, each with a capital first letter.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    for letter in name.chars() {
        if letter == '_' {
            begins = true;
            continue;
        }
        match words.last_mut() {
            Some(word) if !begins && !letter.is_ascii_uppercase() => word.push(letter),
            _ => words.push(letter.to_ascii_uppercase().to_string()),
        }
        begins = false;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(file: &str, text: &str) -> Vec<String> {
        in_file(Path::new("/home/someone/checkout"), file, text)
    }

    #[test]
    fn a_module_without_an_opening_word_is_found() {
        assert_eq!(
            check_one("crates/a/src/b.rs", "//! B.\nfn b() {}\n"),
            Vec::<String>::new()
        );
        assert_eq!(check_one("crates/a/src/b.rs", "fn b() {}\n").len(), 1);
        assert_eq!(
            check_one("crates/a/src/b/tests.rs", "use super::*;\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_file_that_is_too_long_is_found_and_its_tests_do_not_count() {
        let long = |lines: usize| format!("//! Long.\n{}", "let a = 1;\n".repeat(lines - 1));
        assert_eq!(check_one("src/a.rs", &long(600)), Vec::<String>::new());
        assert_eq!(check_one("src/a.rs", &long(601)).len(), 1);
        let tests = format!("{}#[cfg(test)]\n{}", long(600), "let a = 1;\n".repeat(600));
        assert_eq!(check_one("src/a.rs", &tests), Vec::<String>::new());
        assert_eq!(check_one("tests/a.rs", &long(601)), Vec::<String>::new());
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        for line in [
            "pub(crate) struct SpanManager;",
            "mod http_util;",
            "    trait Base {",
            "enum DataKind {",
        ] {
            assert_eq!(
                check_one("src/a.rs", &format!("//! A.\n{line}\n")).len(),
                1,
                "{line}"
            );
        }
        for line in [
            "struct Database;",
            "mod databases;",
            "// struct Manager",
            "    type Data = Bytes;",
            "struct TracesData;",
        ] {
            assert_eq!(
                check_one("src/a.rs", &format!("//! A.\n{line}\n")),
                Vec::<String>::new(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_manifest_without_the_lints_of_the_workspace_is_found() {
        let manifest = "[package]\nname = \"a\"\n";
        assert_eq!(check_one("crates/a/Cargo.toml", manifest).len(), 1);
        assert_eq!(
            check_one(
                "crates/a/Cargo.toml",
                &format!("{manifest}\n[lints]\nworkspace = true\n")
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            check_one("Cargo.toml", "[workspace]\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_path_of_the_writers_machine_is_found_in_any_file() {
        assert_eq!(
            check_one("docs/a.md", "run /home/someone/checkout/x").len(),
            1
        );
    }

    #[test]
    fn the_old_way_to_name_a_module_is_found() {
        assert_eq!(check_one("src/a/mod.rs", "//! A.\n").len(), 1);
    }
}
