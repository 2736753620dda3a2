//! Style and spelling of the prose: comments, documentation pages, and sentences in Rust literals.
//!
//! Style is a list of phrases with a remedy each, `prose/phrases.txt`. Spelling is the dictionary
//! of misspellings of the `typos` project, less the words in `prose/spelling.txt`. Code in
//! backticks and fences is not prose.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::{Regex, RegexBuilder};
use unicase::UniCase;

use self::paragraph::Paragraph;

pub(crate) mod paragraph;
mod string_literal;

const PHRASES: &str = include_str!("prose/phrases.txt");
const ALLOWED_WORDS: &str = include_str!("prose/spelling.txt");

/// A phrase that is not written here.
struct BannedPhrase {
    pattern: Regex,
    hint: &'static str,
    /// Matches that are ordinary English after all.
    unless: Option<Regex>,
    /// The phrase counts only where a sentence begins.
    opens_sentence: bool,
}

/// The rules, read once.
pub(super) struct ProseChecker {
    phrases: Vec<BannedPhrase>,
    allowed_words: BTreeSet<&'static str>,
}

/// The end of a sentence. A question keeps its mark, because questions may open with a pronoun.
static SENTENCE_END: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[.!]\s+").ok());

// === impl ProseChecker ===

impl ProseChecker {
    /// Reads the word lists.
    ///
    /// # Errors
    /// When a line of the phrases has no hint or is not a regular expression.
    pub(super) fn new() -> Result<Self> {
        let phrases = entries(PHRASES)
            .map(BannedPhrase::parse)
            .collect::<Result<_>>()?;
        let allowed_words = entries(ALLOWED_WORDS).collect();
        Ok(Self {
            phrases,
            allowed_words,
        })
    }

    /// Returns the mistakes in the prose of a file, a sentence each.
    pub(super) fn check(&self, file: &str, text: &str) -> Vec<String> {
        // The lists quote what they forbid.
        if file.starts_with("xtask/src/tidy/") {
            return Vec::new();
        }
        let mut paragraphs = paragraph::paragraphs(file, text);
        paragraphs.extend(string_literal::paragraphs(file, text));
        paragraphs
            .iter()
            .flat_map(|paragraph| self.check_paragraph(paragraph))
            .collect()
    }

    fn check_paragraph(&self, paragraph: &Paragraph) -> Vec<String> {
        let mut found = Vec::new();
        for sentence in sentences(&paragraph.text) {
            let broken = self
                .phrases
                .iter()
                .filter_map(|phrase| phrase.find(sentence));
            found.extend(broken.map(|phrase| format!("line {}: {phrase}", paragraph.line)));
        }
        found.extend(self.misspellings(paragraph));
        found.extend(self.doubled_word(paragraph));
        found
    }

    fn misspellings(&self, paragraph: &Paragraph) -> Vec<String> {
        let words = paragraph
            .text
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        // Identifiers have digits, underscores or capitals inside; names begin with a capital.
        let words = words.filter(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
        let wrong = words.filter_map(|word| {
            let corrections = typos_dict::WORD.find(&UniCase::new(word))?;
            (!self.allowed_words.contains(word)).then_some((word, corrections))
        });
        wrong
            .map(|(word, corrections)| {
                format!(
                    "line {}: {word} is spelled {}",
                    paragraph.line,
                    corrections.join(" or ")
                )
            })
            .collect()
    }

    fn doubled_word(&self, paragraph: &Paragraph) -> Option<String> {
        let is_word = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase());
        let words = paragraph.text.split_whitespace();
        let mut pairs = words.clone().zip(words.skip(1));
        let (word, _) = pairs.find(|(word, next)| {
            word == next && is_word(word) && !self.allowed_words.contains(*word)
        })?;
        Some(format!(
            "line {}: the word \"{word}\" is doubled",
            paragraph.line
        ))
    }
}

// === impl BannedPhrase ===

impl BannedPhrase {
    fn parse(line: &'static str) -> Result<Self> {
        let mut columns = line.split(" => ");
        let pattern = columns.next().unwrap_or_default();
        let hint = columns
            .next()
            .with_context(|| format!("no \" => \" and hint in: {line}"))?;
        let build = |pattern: &str| {
            let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
            regex.with_context(|| format!("in the phrases: {line}"))
        };
        Ok(Self {
            pattern: build(pattern)?,
            hint,
            unless: columns.next().map(build).transpose()?,
            opens_sentence: pattern.starts_with('^'),
        })
    }

    fn find(&self, sentence: &str) -> Option<String> {
        if self.opens_sentence && sentence.ends_with('?') {
            return None;
        }
        let is_ordinary = |text: &str| {
            self.unless
                .as_ref()
                .is_some_and(|unless| unless.is_match(text))
        };
        let mut matches = self.pattern.find_iter(sentence);
        let found = matches.find(|found| !is_ordinary(found.as_str()))?;
        Some(format!("\"{}\": {}", found.as_str(), self.hint))
    }
}

/// The lines of a list that are neither empty nor comments.
fn entries(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let end = SENTENCE_END.as_ref();
    let parts: Vec<&str> = end.map_or_else(|| vec![text], |end| end.split(text).collect());
    parts.into_iter().map(|part| {
        // Quotation marks and list marks precede the first word.
        part.trim_start_matches(|c: char| !c.is_alphanumeric())
            .trim_end()
    })
}

/// Sentences that open with a relative pronoun and no noun, a measure of [`crate::tidy::measures`].
pub(crate) fn headless_openings(paragraph: &Paragraph) -> usize {
    const PRONOUNS: [&str; 6] = ["what", "who", "whose", "which", "whatever", "whoever"];
    let is_headless = |sentence: &&str| {
        let first = sentence
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_lowercase();
        PRONOUNS.contains(&first.as_str()) && !sentence.ends_with('?')
    };
    sentences(&paragraph.text).filter(is_headless).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, text: &str) -> Vec<String> {
        ProseChecker::new().unwrap().check(file, text)
    }

    #[test]
    fn a_headless_sentence_is_found() {
        let text = "//! Reads frames. What is cut\n//! passes unmodified.\n";
        assert_eq!(check("src/a.rs", text).len(), 1);
        assert_eq!(
            check("src/a.rs", "//! What is a frame?\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_old_dialect_is_found() {
        for phrase in [
            "It tells the broker.",
            "That is mended.",
            "It is no error.",
            "Read anew.",
        ] {
            assert_eq!(
                check("docs/a.md", &format!("{phrase}\n")).len(),
                1,
                "{phrase}"
            );
        }
        for ordinary in ["It is no longer open.", "Then there is no parent."] {
            assert_eq!(check("docs/a.md", ordinary), Vec::<String>::new());
        }
    }

    #[test]
    fn a_misspelling_is_found_and_its_remedy_named() {
        let found = check("docs/a.md", "The recieved batch.\n");
        assert_eq!(found, ["line 1: recieved is spelled received"]);
        assert_eq!(check("docs/a.md", "Once and and for all.\n").len(), 1);
    }

    #[test]
    fn the_text_of_an_error_is_prose() {
        let text = "fn f() { bail!(\"the port is told to the client\") }\n";
        assert_eq!(check("crates/a/src/b.rs", text).len(), 1);
    }

    #[test]
    fn code_is_not_prose() {
        let text = "Run `tell me`:\n\n```sh\ntell me anew\n```\n";
        assert_eq!(check("docs/a.md", text), Vec::<String>::new());
        assert_eq!(
            check("src/a.rs", "let told = tell();\n"),
            Vec::<String>::new()
        );
    }
}
