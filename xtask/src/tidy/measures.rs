//! `cargo xtask measure`: how the code reads, in figures, with a bound for each.
//!
//! The figures are averages over a crate's code without tests; tidy holds the bounds for the whole
//! workspace. They are symptoms and prove nothing by themselves: a bound that is met by worse code
//! is missed.

use std::collections::BTreeMap;

use anyhow::Result;
use throughline_testkit::build::repository_root;

use super::prose::{self, paragraph};
use super::repository;
use super::rust_source::{self, RustSource};
use super::type_names;

/// Sentences that open with a relative pronoun, in 10,000 words of comments.
const MAX_HEADLESS_OPENINGS: f64 = 5.0;
/// Average characters of a line of code, without indentation.
const MAX_LINE_CHARACTERS: f64 = 32.0;
/// Share of comment lines among the lines of functions, in percent.
const MIN_INLINE_COMMENTS: f64 = 3.0;
/// Share of type names that are one word, in percent.
const MAX_ONE_WORD_TYPES: f64 = 45.0;

/// Sums over files.
#[derive(Debug, Default, Clone, Copy)]
struct CodeMeasures {
    code_lines: usize,
    code_characters: usize,
    /// Lines inside functions, comments included.
    function_lines: usize,
    inline_comments: usize,
    types: usize,
    one_word_types: usize,
    comment_words: usize,
    headless_openings: usize,
}

/// Prints the figures of each crate and of all.
///
/// # Errors
/// When the sources cannot be read.
pub(crate) fn run() -> Result<()> {
    let sources = rust_source::parse_all(repository_root(), &repository::tracked_files()?)?;
    let mut crates: BTreeMap<&str, CodeMeasures> = BTreeMap::new();
    for source in &sources {
        crates
            .entry(source.crate_folder())
            .or_default()
            .add(count(source));
    }
    println!(
        "{:<32} {:>7} {:>10} {:>10} {:>10} {:>10}",
        "", "lines", "line chars", "comments %", "one-word %", "headless"
    );
    let mut total = CodeMeasures::default();
    for (folder, counts) in crates {
        println!("{}", counts.row(folder));
        total.add(counts);
    }
    println!("{}", total.row("all"));
    println!(
        "{:<32} {:>7} {:>10} {:>10} {:>10} {:>10}",
        "bound",
        "",
        format!("< {MAX_LINE_CHARACTERS}"),
        format!("> {MIN_INLINE_COMMENTS}"),
        format!("< {MAX_ONE_WORD_TYPES}"),
        format!("< {MAX_HEADLESS_OPENINGS}")
    );
    Ok(())
}

/// The bounds that the workspace as a whole misses.
pub(super) fn check(sources: &[RustSource]) -> Vec<String> {
    let mut total = CodeMeasures::default();
    sources.iter().for_each(|source| total.add(count(source)));
    total.missed_bounds()
}

fn count(source: &RustSource) -> CodeMeasures {
    let bodies = source.function_bodies();
    let is_in_function = |number: usize| {
        bodies
            .iter()
            .any(|(first, last)| (first..=last).contains(&&number))
    };
    let mut counts = CodeMeasures::default();
    for (number, line) in source.lines() {
        let line = line.trim();
        let is_comment = line.starts_with("//");
        if !line.is_empty() && !is_comment {
            counts.code_lines += 1;
            counts.code_characters += line.chars().count();
        }
        if !line.is_empty() && is_in_function(number) {
            counts.function_lines += 1;
            counts.inline_comments += usize::from(is_comment || has_trailing_comment(line));
        }
    }
    for paragraph in paragraph::paragraphs(&source.path, &source.text) {
        counts.comment_words += paragraph.text.split_whitespace().count();
        counts.headless_openings += prose::headless_openings(&paragraph);
    }
    let names = type_names::declared_in(source);
    counts.types = names.len();
    counts.one_word_types = names.iter().filter(|name| is_one_word(name)).count();
    counts
}

/// Whether code is followed by `// comment`. Two slashes in a string follow a colon in URLs.
fn has_trailing_comment(line: &str) -> bool {
    line.split_once(" // ")
        .is_some_and(|(code, _)| code.matches('"').count() % 2 == 0)
}

fn is_one_word(name: &str) -> bool {
    // A name of capitals only is an abbreviation.
    let capitals = name.chars().filter(char::is_ascii_uppercase).count();
    capitals == 1 || capitals == name.len()
}

// === impl CodeMeasures ===

impl CodeMeasures {
    fn add(&mut self, other: Self) {
        self.code_lines += other.code_lines;
        self.code_characters += other.code_characters;
        self.function_lines += other.function_lines;
        self.inline_comments += other.inline_comments;
        self.types += other.types;
        self.one_word_types += other.one_word_types;
        self.comment_words += other.comment_words;
        self.headless_openings += other.headless_openings;
    }

    fn line_characters(&self) -> f64 {
        ratio(self.code_characters, self.code_lines)
    }

    fn inline_comment_percent(&self) -> f64 {
        100.0 * ratio(self.inline_comments, self.function_lines)
    }

    fn one_word_percent(&self) -> f64 {
        100.0 * ratio(self.one_word_types, self.types)
    }

    fn headless_per_10_000(&self) -> f64 {
        10_000.0 * ratio(self.headless_openings, self.comment_words)
    }

    fn row(&self, name: &str) -> String {
        format!(
            "{name:<32} {:>7} {:>10.1} {:>10.1} {:>10.0} {:>10.1}",
            self.code_lines,
            self.line_characters(),
            self.inline_comment_percent(),
            self.one_word_percent(),
            self.headless_per_10_000()
        )
    }

    fn missed_bounds(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut require = |is_met: bool, name: &str, figure: f64, bound: f64| {
            if !is_met {
                missed.push(format!("{name}: {figure:.1}, the bound is {bound:.0}"));
            }
        };
        let characters = self.line_characters();
        let is_short = characters < MAX_LINE_CHARACTERS;
        require(
            is_short,
            "characters of a line of code",
            characters,
            MAX_LINE_CHARACTERS,
        );
        let comments = self.inline_comment_percent();
        let is_explained = comments > MIN_INLINE_COMMENTS;
        require(
            is_explained,
            "percent of inline comments",
            comments,
            MIN_INLINE_COMMENTS,
        );
        let one_word = self.one_word_percent();
        let is_named = one_word < MAX_ONE_WORD_TYPES;
        require(
            is_named,
            "percent of one-word type names",
            one_word,
            MAX_ONE_WORD_TYPES,
        );
        let headless = self.headless_per_10_000();
        let has_subjects = headless < MAX_HEADLESS_OPENINGS;
        require(
            has_subjects,
            "headless openings in 10,000",
            headless,
            MAX_HEADLESS_OPENINGS,
        );
        missed
    }
}

/// Zero of zero is zero: an empty crate misses nothing.
#[expect(clippy::cast_precision_loss, reason = "line counts are far below 2^52")]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_text(text: &str) -> CodeMeasures {
        count(&RustSource::parse("crates/a/src/lib.rs", text.to_owned()).unwrap())
    }

    #[test]
    fn comments_count_inside_functions_only() {
        let counts =
            count_text("// Outside.\nfn f() {\n    // Inside.\n    g(); // Trailing.\n}\n");
        assert_eq!((counts.inline_comments, counts.function_lines), (2, 4));
        assert_eq!(counts.code_lines, 3);
    }

    #[test]
    fn every_bound_can_be_missed() {
        let wide = format!(
            "struct A; struct B;\nfn f() {{ let a = \"{}\"; }}\n",
            "x".repeat(90)
        );
        let missed = count_text(&format!("//! What is cut passes.\n{wide}")).missed_bounds();
        assert_eq!(missed.len(), 4, "{missed:?}");
    }

    #[test]
    fn code_within_the_bounds_misses_none() {
        let text = "//! Reads frames.\nstruct FrameReader;\nfn f() {\n    // A bound.\n}\n";
        assert_eq!(count_text(text).missed_bounds(), Vec::<String>::new());
    }

    #[test]
    fn abbreviations_are_one_word() {
        assert!(is_one_word("Span") && is_one_word("TCP"));
        assert!(!is_one_word("SpanId"));
    }
}
