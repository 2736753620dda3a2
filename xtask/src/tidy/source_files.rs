//! Size, module documentation and names of source files, and no trace of the writer's machine.

use std::path::Path;

use super::rust_source::is_test_file;

/// Longest Rust file, in lines without its tests.
const MAX_LINES: usize = 600;

/// Words that add nothing to the name of a type or module.
const EMPTY_WORDS: [&str; 7] = [
    "Manager", "Helper", "Util", "Common", "Base", "Data", "Info",
];

/// Words of speech and metaphor, in the names of types, modules and functions.
const FORBIDDEN_WORDS: [&str; 13] = [
    "Anew", "Gave", "Heed", "Heeds", "Mend", "Mends", "Tell", "Tells", "Told", "Who", "Whom",
    "Whose", "Wish",
];

/// Names that a specification gave.
const SPECIFIED_NAMES: [&str; 1] = ["TracesData"]; // OTLP

/// The rules that a file breaks.
pub(super) fn check(root: &Path, file: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    if text.contains(&format!("{}/", root.display())) {
        violations.push("names a path of the machine it was written on".to_owned());
    }
    let is_package = file.ends_with("Cargo.toml") && text.contains("[package]");
    // The fuzz workspace is compiled for the fuzzer, with flags of its own.
    if is_package && !file.starts_with("fuzz/") && !inherits_lints(text) {
        violations.push("does not inherit the lints: [lints] workspace = true".to_owned());
    }
    if Path::new(file)
        .extension()
        .is_some_and(|extension| extension == "rs")
    {
        violations.extend(check_rust(file, text));
    }
    violations
}

fn inherits_lints(manifest: &str) -> bool {
    let section = manifest.split("[lints]").nth(1);
    section.is_some_and(|rest| rest.trim_start().starts_with("workspace = true"))
}

fn check_rust(file: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    // tests/foo.rs is a test program, so shared code below tests/ has to be in foo/mod.rs.
    if file.ends_with("/mod.rs") && !is_test_file(file) {
        violations.push("a module is foo.rs and foo/, not foo/mod.rs".to_owned());
    }
    // The name of a tests.rs says what it holds.
    if !text.starts_with("//!") && !file.ends_with("/tests.rs") {
        violations.push("does not open with `//!`: what it is, what it is not".to_owned());
    }
    let lines = lines_without_tests(file, text);
    if lines > MAX_LINES {
        violations.push(format!(
            "has {lines} lines without its tests; {MAX_LINES} is the most"
        ));
    }
    violations.extend(text.lines().filter_map(check_name));
    violations
}

/// Lines up to the unit tests; none in a file that holds nothing but tests.
fn lines_without_tests(file: &str, text: &str) -> usize {
    if is_test_file(file) {
        return 0;
    }
    let is_code = |line: &&str| !line.starts_with("#[cfg(test)]");
    text.lines().take_while(is_code).count()
}

/// The rule that the name declared in a line breaks.
fn check_name(line: &str) -> Option<String> {
    let (keyword, name) = declared_name(line)?;
    let words = words(name);
    let has = |list: &[&'static str]| {
        let found = list
            .iter()
            .find(|word| words.iter().any(|part| part == *word));
        found.copied()
    };
    if let Some(word) = has(&FORBIDDEN_WORDS) {
        return Some(format!(
            "the name {name} says {word}; use a term of the field"
        ));
    }
    let is_function = keyword == "fn";
    // In front of a name, What and Which are headless; inside one they can be ordinary.
    if is_function && ["What", "Which"].contains(&words.first()?.as_str()) {
        return Some(format!("the name {name} opens without a noun or a verb"));
    }
    if !is_function && !SPECIFIED_NAMES.contains(&name) {
        return has(&EMPTY_WORDS)
            .map(|word| format!("the name {name} says {word}, which is empty"));
    }
    None
}

/// Keyword and name of the type, trait, module or function that a line declares.
fn declared_name(line: &str) -> Option<(&str, &str)> {
    // Comments, and string literals of a list.
    if ["//", "\""]
        .iter()
        .any(|start| line.trim_start().starts_with(start))
    {
        return None;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut tokens = line
        .split(|c: char| !is_name(c))
        .filter(|token| !token.is_empty());
    let qualifiers = [
        "pub", "crate", "super", "in", "self", "async", "const", "unsafe",
    ];
    let keyword = tokens.find(|token| !qualifiers.contains(token))?;
    let is_declaration = ["struct", "enum", "trait", "mod", "union", "fn"].contains(&keyword);
    if is_declaration {
        Some((keyword, tokens.next()?))
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
        check(Path::new("/home/someone/checkout"), file, text)
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
    fn forbidden_words_in_names_are_found() {
        for line in [
            "struct Told;",
            "fn tell_all() {}",
            "pub async fn what_is_cut() {",
            "mod wish;",
        ] {
            assert_eq!(
                check_one("src/a.rs", &format!("//! A.\n{line}\n")).len(),
                1,
                "{line}"
            );
        }
        for line in ["fn is_what_it_was() {}", "struct Teller;", "fn util() {}"] {
            let text = format!("//! A.\n{line}\n");
            assert_eq!(check_one("src/a.rs", &text), Vec::<String>::new(), "{line}");
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
