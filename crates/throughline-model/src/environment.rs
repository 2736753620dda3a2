//! OpenTelemetry's environment variables ("Environment variable specification"), read through a
//! function, so that this crate does not access the environment and tests pass a map.
//!
//! [`EnvironmentReader`] collects every error, so that all of them are reported together. [`otlp`]
//! reads the variables of an OTLP exporter and of the batch span processor.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

pub mod otlp;

/// The longest duration that a variable may hold.
const MAX_MILLIS: u64 = 3_600_000;

/// A reader of variables and of the errors in them.
pub struct EnvironmentReader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<VariableError>,
}

/// An invalid environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableError {
    /// The name of the variable.
    pub variable: String,
    /// Its value, unless that may be a secret.
    pub value: Option<String>,
    /// The problem and its remedy.
    pub problem: String,
}

/// Whether a value may appear in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueSecrecy {
    /// It may.
    Public,
    /// It must not: a header may hold an API key.
    Secret,
}

// === impl VariableError ===

impl VariableError {
    /// Returns the error of a variable whose value is not shown.
    #[must_use]
    pub fn new(variable: &str, problem: impl Into<String>) -> Self {
        Self {
            variable: variable.to_owned(),
            value: None,
            problem: problem.into(),
        }
    }
}

// === impl EnvironmentReader ===

impl<'a> EnvironmentReader<'a> {
    /// Returns a reader of the variables that `lookup` finds.
    #[must_use]
    pub const fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            errors: Vec::new(),
        }
    }

    /// Returns the errors, in the order of reading.
    #[must_use]
    pub fn into_errors(self) -> Vec<VariableError> {
        self.errors
    }

    /// Returns whether any variable was invalid so far.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Returns the trimmed value. An empty one counts as unset (OpenTelemetry, "Environment
    /// variable specification", parsing empty value).
    #[must_use]
    pub fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// Returns the first of these variables that is set, and its value.
    #[must_use]
    pub fn first<'v>(&self, variables: &[&'v str]) -> Option<(&'v str, String)> {
        variables
            .iter()
            .find_map(|variable| Some((*variable, self.text(variable)?)))
    }

    /// Reports an invalid variable.
    pub fn report(&mut self, variable: &str, value: &str, problem: impl Into<String>) {
        self.push(VariableError {
            variable: variable.to_owned(),
            value: Some(value.to_owned()),
            problem: problem.into(),
        });
    }

    /// Reports an invalid variable whose value is missing or must not be shown.
    pub fn report_hidden(&mut self, variable: &str, problem: impl Into<String>) {
        self.push(VariableError::new(variable, problem));
    }

    fn push(&mut self, error: VariableError) {
        // Traces and metrics may read the same variable; its error is reported once.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Reads `true` or `false`; an unset variable is `false`.
    pub fn boolean(&mut self, variable: &str) -> bool {
        match self.text(variable).as_deref() {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            Some(value) => {
                self.report(variable, value, "neither true nor false");
                false
            }
        }
    }

    /// Reads a number within bounds from the first of these variables that is set.
    pub fn number<N>(&mut self, variables: &[&str], bounds: RangeInclusive<N>, default: N) -> N
    where
        N: FromStr + PartialOrd + fmt::Display,
    {
        let Some((variable, value)) = self.first(variables) else {
            return default;
        };
        match value.parse() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let problem = format!("not a number from {} to {}", bounds.start(), bounds.end());
                self.report(variable, &value, problem);
                default
            }
        }
    }

    /// Reads a duration in milliseconds, up to an hour.
    pub fn millis(&mut self, variables: &[&str], default: Duration) -> Duration {
        // The default is within bounds, but a caller may pass any duration.
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.number(variables, 1..=MAX_MILLIS, default))
    }

    /// Reads `key=value,key=value`, percent-encoded, the form of `OTEL_RESOURCE_ATTRIBUTES` and of
    /// the header variables.
    pub fn pairs(&mut self, variable: &str, secrecy: ValueSecrecy) -> Vec<(String, String)> {
        let Some(text) = self.text(variable) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        // A trailing comma is common in scripts, and harmless.
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            match (parse_pair(pair), secrecy) {
                (Some(pair), _) => pairs.push(pair),
                (None, ValueSecrecy::Public) => {
                    self.report(variable, pair, "not of the form key=value, percent-encoded");
                }
                (None, ValueSecrecy::Secret) => {
                    let problem = "a part is not of the form key=value, percent-encoded";
                    self.report_hidden(variable, problem);
                }
            }
        }
        pairs
    }

    /// Reads as [`Self::pairs`], but keeps pairs with an invalid escape as they are. Returns the
    /// number of those, too.
    pub fn pairs_or_raw(&mut self, variable: &str) -> (Vec<(String, String)>, usize) {
        let mut raw_count = 0;
        let Some(text) = self.text(variable) else {
            return (Vec::new(), raw_count);
        };
        let mut pairs = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            if let Some(pair) = parse_pair(pair) {
                pairs.push(pair);
            } else if let Some(pair) = split_pair(pair).filter(|(key, _)| !key.is_empty()) {
                raw_count += 1;
                pairs.push((pair.0.to_owned(), pair.1.to_owned()));
            } else {
                self.report(variable, pair, "not of the form key=value, percent-encoded");
            }
        }
        (pairs, raw_count)
    }
}

fn split_pair(pair: &str) -> Option<(&str, &str)> {
    let (key, value) = pair.split_once('=')?;
    Some((key.trim(), value.trim()))
}

/// Parses `key=value`; `None` when the key is empty or an escape is invalid.
fn parse_pair(pair: &str) -> Option<(String, String)> {
    let (key, value) = split_pair(pair)?;
    let key = percent_decode(key).filter(|key| !key.is_empty())?;
    Some((key, percent_decode(value)?))
}

/// Decodes RFC 3986, section 2.1. `None` when the result is not UTF-8, or a `%` is not followed by
/// two hex digits: unlike baggage, a configuration must not be guessed at.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            // Two digits must follow; a `%` for itself is written `%25`.
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Debug for EnvironmentReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentReader")
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

// === impl VariableError ===

impl fmt::Display for VariableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.variable, self.problem),
            None => write!(f, "{}: {}", self.variable, self.problem),
        }
    }
}

impl std::error::Error for VariableError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads from a single variable `V`.
    fn read<T>(value: &str, read: impl Fn(&mut EnvironmentReader<'_>) -> T) -> (T, Vec<String>) {
        let lookup = |name: &str| (name == "V").then(|| value.to_owned());
        let mut reader = EnvironmentReader::new(&lookup);
        let result = read(&mut reader);
        let errors = reader.into_errors();
        (result, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn empty_variable_counts_as_unset() {
        assert_eq!(read(" ", |reader| reader.text("V")), (None, vec![]));
        assert_eq!(read("", |reader| reader.boolean("V")), (false, vec![]));
    }

    #[test]
    fn number_out_of_bounds_is_reported_and_replaced() {
        let (number, errors) = read("7", |reader| reader.number(&["U", "V"], 1..=5, 2));
        assert_eq!(number, 2);
        assert_eq!(errors, ["V=\"7\": not a number from 1 to 5"]);
    }

    #[test]
    fn pairs_are_percent_decoded() {
        let (pairs, errors) = read("a = x%20y ,, b=", |reader| {
            reader.pairs("V", ValueSecrecy::Public)
        });
        let expected = [("a", "x y"), ("b", "")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!((pairs, errors), (Vec::from(expected), vec![]));
    }

    #[test]
    fn pairs_with_an_invalid_escape_can_be_kept_raw() {
        let ((pairs, raw_count), errors) =
            read("a=100%, b=x%20y, c, =d", |reader| reader.pairs_or_raw("V"));
        let expected = [("a", "100%"), ("b", "x y")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!((pairs, raw_count), (Vec::from(expected), 1));
        assert_eq!(errors.len(), 2, "{errors:?}");
    }

    #[test]
    fn secret_values_do_not_appear_in_errors() {
        for value in ["key hidden", "key=%hidden", "=hidden"] {
            let (_, errors) = read(value, |reader| reader.pairs("V", ValueSecrecy::Secret));
            assert_eq!(errors.len(), 1, "{value}");
            assert!(!errors[0].contains("hidden"), "{value}");
        }
    }

    #[test]
    fn repeated_error_is_reported_once() {
        let (_, errors) = read("maybe", |reader| (reader.boolean("V"), reader.boolean("V")));
        assert_eq!(errors, ["V=\"maybe\": neither true nor false"]);
    }
}
