//! Parses logfmt, as in Jaeger's search: `key=value key="other value"`.
//!
//! A value without quotes ends at a space only, so that URLs can be pasted:
//! `http.url=http://h/c?a=1&b=2`.

use throughline_store::{AttributeScope, SpanField, SpanFilter, ValuePredicate};

use crate::syntax_error::SyntaxError;
use crate::traceql::lexer::{QueryLexer, WORD_ENDS};

/// Maximum length of a quotation in an error.
const MAX_QUOTED_CHARS: usize = 40;

/// Parses a whole query; all pairs must hold on one span.
pub(super) fn parse(text: &str) -> Result<SpanFilter, SyntaxError> {
    let characters: Vec<char> = text.chars().collect();
    let mut parser = LogfmtParser {
        lexer: QueryLexer::new(&characters),
        unquoted: None,
    };
    let mut parts = Vec::new();
    while let Some((key, value)) = parser.pair()? {
        parts.push(SpanFilter::Is(
            SpanField::Attribute(AttributeScope::JaegerTag, key),
            ValuePredicate::equal(&value),
        ));
    }
    Ok(SpanFilter::All(parts))
}

struct LogfmtParser<'a> {
    lexer: QueryLexer<'a>,
    /// The pair before the current one, when its value was not quoted.
    unquoted: Option<(String, String)>,
}

// === impl LogfmtParser ===

impl LogfmtParser<'_> {
    fn pair(&mut self) -> Result<Option<(String, String)>, SyntaxError> {
        self.lexer.skip_spaces();
        let position = self.lexer.position();
        let Some(first) = self.lexer.peek() else {
            return Ok(None);
        };
        let key = if first == '"' {
            self.lexer.quoted('"')?
        } else {
            self.lexer.run(|character| !WORD_ENDS.contains(&character))
        };
        if key.is_empty() {
            return Err(self.no_key());
        }
        let end = self.lexer.position();
        if first != '"' && key.contains("://") {
            self.lexer.seek(position);
            let url = self.lexer.run(|_| true);
            let message = format!("a key is missing before the URL: write url.full=\"{url}\"");
            return Err(SyntaxError::at(position, message));
        }
        self.lexer.skip_spaces();
        if self.lexer.peek() != Some('=') {
            return Err(self.no_condition(&key, position));
        }
        self.lexer.seek(self.lexer.position() + 1);
        self.lexer.skip_spaces();
        let value = self.value(&key, end)?;
        Ok(Some((key, value)))
    }

    fn value(&mut self, key: &str, key_end: usize) -> Result<String, SyntaxError> {
        let position = self.lexer.position();
        match self.lexer.peek() {
            None => Err(SyntaxError::at(
                key_end,
                format!("a value is missing: write {key}=value"),
            )),
            Some(quote @ ('"' | '`')) => {
                self.unquoted = None;
                let value = self.lexer.quoted(quote)?;
                match self.lexer.peek() {
                    Some(next) if !next.is_whitespace() => Err(SyntaxError::at(
                        self.lexer.position(),
                        format!(
                            "a space is missing after the quoted value; write a quote within it \
                             as \\\", found `{next}`"
                        ),
                    )),
                    _ => Ok(value),
                }
            }
            Some('\'') => {
                let rest = self.lexer.rest();
                let rest = rest.strip_prefix('\'').unwrap_or_default();
                let text = rest.split('\'').next().unwrap_or_default();
                let message = format!("texts are quoted with \": write {key}=\"{text}\"");
                Err(SyntaxError::at(position, message))
            }
            Some(_) => {
                let value = self.lexer.run(|_| true);
                check_unquoted(key, &value, position)?;
                self.unquoted = Some((key.to_owned(), value.clone()));
                Ok(value)
            }
        }
    }

    fn no_key(&self) -> SyntaxError {
        let found = self.lexer.rest();
        let found = found.split_whitespace().next().unwrap_or_default();
        let found: String = found.chars().take(MAX_QUOTED_CHARS).collect();
        let message = if matches!(found.as_str(), "&&" | "," | ";" | "and" | "AND") {
            format!("expected a key after a space: leave out `{found}`, all pairs must hold anyway")
        } else {
            format!(
                "expected a key, as in key=value, or {{ .. }} around a TraceQL query, \
                 found `{found}`"
            )
        };
        SyntaxError::at(self.lexer.position(), message)
    }

    /// Returns the error for a word without a value. It may belong to the value before it.
    fn no_condition(&self, key: &str, position: usize) -> SyntaxError {
        let quoting = self.unquoted.as_ref().map(|(before, value)| {
            format!(", or quotes around the value before it: {before}=\"{value} {key}\"")
        });
        let message = format!(
            "{key:?} is not a condition: write {key}=value{}, \
             or {{ .. }} around a TraceQL query",
            quoting.unwrap_or_default()
        );
        SyntaxError::at(position, message)
    }
}

/// Rejects values in which an operator or a separator was probably meant.
fn check_unquoted(key: &str, value: &str, position: usize) -> Result<(), SyntaxError> {
    let refused = |byte: usize, problem: &str| {
        let before = value.get(..byte).unwrap_or_default().chars().count();
        Err(SyntaxError::at(
            position + before,
            format!("{problem}; a value with it needs quotes: write {key}=\"{value}\""),
        ))
    };
    if value.starts_with('=') {
        return refused(0, "one = is enough");
    }
    if let Some(at) = value.find("&&").or_else(|| value.find("||")) {
        return refused(at, "pairs are separated by spaces, and all must hold");
    }
    if value.ends_with(',') {
        return refused(value.len() - 1, "pairs are separated by spaces");
    }
    Ok(())
}
