//! Sentences in string literals of Rust code: errors, log lines, help, metric descriptions.

use proc_macro2::{TokenStream, TokenTree};

use super::paragraph::{self, Paragraph};
use crate::tidy::rust_source::crate_path;

/// A literal with fewer spaces is a name, a format or a fragment.
const MIN_SPACES: usize = 3;

/// The sentences in the literals of a source file, without its tests. A file that does not parse
/// has none: the compiler reports it.
pub(super) fn paragraphs(file: &str, text: &str) -> Vec<Paragraph> {
    if crate_path(file).is_none() {
        return Vec::new();
    }
    let tests = text.find("\n#[cfg(test)]").unwrap_or(text.len());
    let code = text.get(..tests).unwrap_or_default();
    let mut found = Vec::new();
    collect(code.parse().unwrap_or_default(), &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<Paragraph>) {
    let mut is_doc = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), found),
            // A doc comment is a `doc = "..."` attribute here, and a comment elsewhere.
            TokenTree::Ident(name) => is_doc = name == "doc",
            TokenTree::Literal(literal) if !is_doc => {
                let line = literal.span().start().line;
                let literal = literal.to_string();
                found.extend(sentence(&literal).map(|text| Paragraph { line, text }));
            }
            TokenTree::Literal(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// Returns the text of a string literal, if it is long enough for a sentence.
fn sentence(literal: &str) -> Option<String> {
    let text = literal.strip_prefix('"')?.strip_suffix('"')?;
    // A backslash at the end of a line joins it with the next one.
    let text = text.replace("\\n", " ").replace("\\\n", " ");
    let words: Vec<&str> = text.split_whitespace().collect();
    (words.len() > MIN_SPACES).then(|| paragraph::without_code(&words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_literals_are_sentences() {
        let code = "/// Doc with four words.\nfn f() { log!(\"the port is in use\", \"a b\"); }\n";
        let found = paragraphs("crates/a/src/b.rs", code);
        let texts: Vec<&str> = found
            .iter()
            .map(|paragraph| paragraph.text.as_str())
            .collect();
        assert_eq!(texts, ["the port is in use"]);
        assert_eq!(found[0].line, 2);
    }

    #[test]
    fn continued_lines_are_joined() {
        let code = "const A: &str = \"one two \\\n    three four\";\n";
        let found = paragraphs("crates/a/src/b.rs", code);
        assert_eq!(found[0].text, "one two three four");
    }

    #[test]
    fn literals_of_tests_are_left_out() {
        let code = "fn f() {}\n#[cfg(test)]\nmod tests { const A: &str = \"one two three four\"; }";
        assert_eq!(paragraphs("crates/a/src/b.rs", code), []);
        assert_eq!(
            paragraphs("crates/a/tests/b.rs", "const A: &str = \"1 2 3 4\";"),
            []
        );
    }
}
