//! The parser of the raw configuration: common value types, and the errors so far.

use std::time::Duration;

use throughline_model::duration;
use tracing_subscriber::EnvFilter;

use crate::byte_size;
use crate::daemon;
use crate::sidecar::raw_config::RawConfig;

const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A parser of one raw configuration. Each method returns a value and records errors on the way, so
/// that all of them are reported together.
pub(super) struct ConfigParser<'a> {
    pub(super) raw: &'a RawConfig,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(super) errors: Vec<String>,
}

// === impl ConfigParser ===

impl<'a> ConfigParser<'a> {
    pub(super) fn new(raw: &'a RawConfig, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            raw,
            environment,
            errors: Vec::new(),
        }
    }

    /// Returns the parsed value, or every error on the way to it.
    pub(super) fn finish<T>(self, parsed: T) -> Result<T, Vec<String>> {
        if self.errors.is_empty() {
            Ok(parsed)
        } else {
            Err(self.errors)
        }
    }

    /// Records an error in an option, under the name by which it was set.
    pub(super) fn error(&mut self, key: &str, text: &str) {
        let name = self.raw.name(key);
        self.errors.push(format!("{name} {text}"));
    }

    /// Returns a variable that is not one of the sidecar's options. An empty one counts as unset,
    /// as OpenTelemetry's specification requires.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn duration(&mut self, key: &str, text: &str) -> Duration {
        let parsed = duration::parse(text)
            .map(Duration::from_nanos)
            .filter(|time| *time <= MAX_DURATION);
        parsed.unwrap_or_else(|| {
            let remedy = "write it as 500ms, 30s or 5m";
            self.error(
                key,
                &format!("{text:?} is not a duration of up to a day; {remedy}"),
            );
            Duration::ZERO
        })
    }

    /// Parses a duration after which something fails.
    pub(super) fn timeout(&mut self, key: &str, text: &str) -> Duration {
        if duration::parse(text) == Some(0) {
            self.error(key, "must not be 0; it would expire at once");
        }
        self.duration(key, text)
    }

    /// Parses a size, which is not 0.
    pub(super) fn byte_size(&mut self, key: &str, text: &str) -> usize {
        let parsed = byte_size::parse(text);
        let error = match parsed {
            Some(0) => "must not be 0; write it as 64MiB or 1GiB".to_owned(),
            Some(size) => return size,
            None => format!("{text:?} is not a size; write it as 64MiB or 1GiB"),
        };
        self.error(key, &error);
        0
    }

    /// Parses a number from 1 to `max`.
    pub(super) fn number<N>(&mut self, key: &str, text: &str, max: N) -> N
    where
        N: std::str::FromStr + PartialOrd + std::fmt::Display + From<u8>,
    {
        match text.parse::<N>() {
            // Zero would mean a sidecar that accepts or records nothing.
            Ok(number) if number >= N::from(1) && number <= max => number,
            _ => {
                self.error(key, &format!("{text:?} is not a number from 1 to {max}"));
                max
            }
        }
    }

    /// Parses a number from 0 to 1.
    pub(super) fn ratio(&mut self, key: &str, text: &str) -> f64 {
        match text.trim().parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                let remedy = "0.1 records a tenth of the traces";
                self.error(
                    key,
                    &format!("{text:?} is not a number from 0 to 1; {remedy}"),
                );
                0.0
            }
        }
    }

    /// Parses one of several words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        text: &str,
        words: &[(&str, T)],
        fallback: T,
    ) -> T {
        let found = words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        found.map_or_else(
            || {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let known = known.join(" or ");
                self.error(key, &format!("{text:?} is not supported; use {known}"));
                fallback
            },
            |(_, value)| *value,
        )
    }

    pub(super) fn boolean(&mut self, key: &str, text: &str) -> bool {
        self.word(key, text, &[("true", true), ("false", false)], false)
    }

    pub(super) fn log_filter(&mut self) -> EnvFilter {
        daemon::log_filter(&self.raw.name("log"), &self.raw.options.log)
            .map_err(|error| self.errors.push(error))
            .unwrap_or_default()
    }

    /// Reads a file that an option names.
    pub(super) fn file(&mut self, key: &str, path: Option<&str>) -> Option<Vec<u8>> {
        let path = path?;
        std::fs::read(path)
            .map_err(|error| self.error(key, &format!("{path}: cannot be read: {error}")))
            .ok()
    }
}
