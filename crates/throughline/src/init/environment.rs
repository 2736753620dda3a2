//! Reading variables: by a function, so that tests give a map; noting every mistake, so that all are told together.

use std::str::FromStr;
use std::time::Duration;

use super::mistakes::Mistake;

/// Where variables come from, and what was wrong with those read so far.
pub(crate) struct Environment<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

// === impl Environment ===

impl<'a> Environment<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            mistakes: Vec::new(),
        }
    }

    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    /// The value, trimmed. An empty one is as good as none (OpenTelemetry, "Environment variables", parsing).
    pub(crate) fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set, and its value.
    pub(crate) fn first<'v>(&self, variables: &[&'v str]) -> Option<(&'v str, String)> {
        variables
            .iter()
            .find_map(|variable| Some((*variable, self.text(variable)?)))
    }

    pub(crate) fn mistake(&mut self, variable: &str, value: &str, problem: impl Into<String>) {
        let (variable, value) = (variable.to_owned(), Some(value.to_owned()));
        self.note(Mistake {
            variable,
            value,
            problem: problem.into(),
        });
    }

    /// A mistake in a value that must not be shown.
    pub(crate) fn secret_mistake(&mut self, variable: &str, problem: impl Into<String>) {
        self.note(Mistake {
            variable: variable.to_owned(),
            value: None,
            problem: problem.into(),
        });
    }

    /// Once, though traces and metrics may both read the variable.
    fn note(&mut self, mistake: Mistake) {
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// `true` or `false`, and only `true` is true.
    pub(crate) fn truth(&mut self, variable: &str) -> bool {
        match self.text(variable).as_deref() {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            Some(value) => {
                self.mistake(variable, value, "neither true nor false");
                false
            }
        }
    }

    /// A number from the first of these variables that is set, within bounds.
    pub(crate) fn number<N>(
        &mut self,
        variables: &[&str],
        bounds: std::ops::RangeInclusive<N>,
        default: N,
    ) -> N
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some((variable, value)) = self.first(variables) else {
            return default;
        };
        match value.parse() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let problem = format!("not a number from {} to {}", bounds.start(), bounds.end());
                self.mistake(variable, &value, problem);
                default
            }
        }
    }

    /// A duration in milliseconds, up to an hour.
    pub(crate) fn millis(&mut self, variables: &[&str], default: Duration) -> Duration {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.number(variables, 1..=3_600_000, default))
    }

    /// `key=value,key=value`, percent-decoded, as `OTEL_RESOURCE_ATTRIBUTES` and the header variables have it.
    pub(crate) fn pairs(&mut self, variable: &str, secrecy: Secrecy) -> Vec<(String, String)> {
        let Some(text) = self.text(variable) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let read = pair.split_once('=').and_then(|(key, value)| {
                let key = percent_decode(key.trim()).filter(|key| !key.is_empty())?;
                Some((key, percent_decode(value.trim())?))
            });
            match (read, secrecy) {
                (Some(pair), _) => pairs.push(pair),
                (None, Secrecy::Shown) => {
                    self.mistake(variable, pair, "not of the form key=value, percent-encoded")
                }
                (None, Secrecy::Hidden) => {
                    self.secret_mistake(
                        variable,
                        "a part is not of the form key=value, percent-encoded",
                    );
                }
            }
        }
        pairs
    }
}

/// Whether a value may be shown in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    Shown,
    Hidden,
}

/// RFC 3986, section 2.1; `None` when the result is no UTF-8 or a `%` is not followed by two hex digits.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
