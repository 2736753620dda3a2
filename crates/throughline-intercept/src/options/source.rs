//! Where the texts of options come from.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::value::{parse_byte_size, parse_number, parse_ratio, parse_word};

/// The options of one configuration. Each method returns a value and keeps the mistakes on the way,
/// so that all of them are reported together.
pub trait OptionReader {
    /// Returns the text of an option; none where nothing is set and no default is written.
    fn text(&mut self, key: &'static str) -> Option<String>;

    /// Returns the entries of an option that is a list of maps.
    ///
    /// # Errors
    /// The error of the parser, in one line.
    fn entries<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Vec<T>, String>;

    /// Returns the variables of OpenTelemetry.
    fn environment(&self) -> &dyn Fn(&str) -> Option<String>;

    /// Returns the name of an option for messages, by which it was set.
    fn name(&self, key: &str) -> String;

    /// Keeps a mistake that names its source itself.
    fn push_error(&mut self, mistake: String);

    /// Keeps a mistake in an option: the rest of a sentence that begins with its name.
    fn error(&mut self, key: &str, mistake: &str) {
        let name = self.name(key);
        self.push_error(format!("{name} {mistake}"));
    }

    /// Returns a variable. An empty one counts as unset, as OpenTelemetry's specification requires.
    fn variable(&self, name: &str) -> Option<String> {
        let value = (self.environment())(name).map(|value| value.trim().to_owned());
        value.filter(|value| !value.is_empty())
    }

    /// Returns the parsed text of an option, or its default.
    fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        default: T,
    ) -> T {
        match self.text(key).map(|text| parse(&text)) {
            Some(Ok(value)) => value,
            Some(Err(mistake)) => {
                self.error(key, &mistake);
                default
            }
            None => default,
        }
    }

    /// Reads one of several words.
    fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], default: T) -> T {
        self.parsed(key, |text| parse_word(text, words), default)
    }

    /// Reads `true` or `false`.
    fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.word(key, &[("true", true), ("false", false)], default)
    }

    /// Reads a number from 0 to 1.
    fn ratio(&mut self, key: &'static str, default: f64) -> f64 {
        self.parsed(key, parse_ratio, default)
    }

    /// Reads a number from 1 to `max`.
    fn number<N>(&mut self, key: &'static str, default: N, max: N) -> N
    where
        N: FromStr + PartialOrd + Display + From<u8> + Copy,
    {
        self.parsed(key, |text| parse_number(text, max), default)
    }

    /// Reads a size in bytes, which is not 0.
    fn byte_size(&mut self, key: &'static str, default: usize) -> usize {
        self.parsed(key, parse_byte_size, default)
    }
}
