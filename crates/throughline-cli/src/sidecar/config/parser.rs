//! The parser of the raw configuration: common value types, and the errors so far.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use throughline_intercept::options::OptionReader;
use throughline_model::duration;
use tracing_subscriber::EnvFilter;

use crate::daemon;
use crate::sidecar::raw_config::RawConfig;

const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A parser of one raw configuration. Each method returns a value and records errors on the way, so
/// that all of them are reported together.
pub(super) struct ConfigParser<'a> {
    pub(super) raw: &'a RawConfig,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(super) errors: Vec<String>,
    /// The options by key.
    texts: Value,
}

// === impl ConfigParser ===

impl<'a> ConfigParser<'a> {
    pub(super) fn new(raw: &'a RawConfig, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            raw,
            environment,
            errors: Vec::new(),
            // The keys are the names of the fields.
            texts: serde_json::to_value(&raw.options).unwrap_or_default(),
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

impl OptionReader for ConfigParser<'_> {
    fn text(&mut self, key: &'static str) -> Option<String> {
        let text = self.texts.get(key).and_then(Value::as_str);
        text.map(str::to_owned)
    }

    fn entries<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Vec<T>, String> {
        let text = self.text(key).unwrap_or_default();
        serde_saphyr::from_str(&text).map_err(|error| {
            // The parser appends an excerpt of the source on further lines.
            let error = error.to_string();
            error.lines().next().unwrap_or_default().to_owned()
        })
    }

    fn environment(&self) -> &dyn Fn(&str) -> Option<String> {
        self.environment
    }

    fn name(&self, key: &str) -> String {
        self.raw.name(key)
    }

    fn push_error(&mut self, mistake: String) {
        self.errors.push(mistake);
    }
}
