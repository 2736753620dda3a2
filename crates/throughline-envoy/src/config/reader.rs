//! Reads values of a JSON object one by one and keeps the mistakes.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Keys of the sidecar's file that Envoy's own configuration takes the place of.
const SIDECAR_ONLY: [&str; 14] = [
    "admin",
    "advertise",
    "broker_ports",
    "broker_tls",
    "client_tls_cert",
    "connect_timeout",
    "connections",
    "drain",
    "inbound",
    "kafka",
    "listen",
    "log",
    "outbound",
    "transparent",
];

/// A reader of one configuration. Each method returns a value and keeps the mistakes on the way, so
/// that all of them are reported together.
pub(super) struct ConfigReader<'a> {
    values: Map<String, Value>,
    known: Vec<&'static str>,
    environment: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<String>,
}

// === impl ConfigReader ===

impl<'a> ConfigReader<'a> {
    pub(super) fn new(
        text: &[u8],
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let values = if text.trim_ascii().is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(text)
                .map_err(|error| vec![format!("the configuration is not a JSON object: {error}")])?
        };
        Ok(Self {
            values,
            known: Vec::new(),
            environment,
            errors: Vec::new(),
        })
    }

    /// Returns the parsed value, or every mistake on the way to it. Keys that nobody has read are
    /// mistakes.
    pub(super) fn finish<T>(mut self, parsed: T) -> Result<T, Vec<String>> {
        let unknown: Vec<String> = self.values.keys().cloned().collect();
        self.known.sort_unstable();
        for key in unknown {
            self.errors.push(if SIDECAR_ONLY.contains(&&*key) {
                format!("{key}: belongs to the sidecar; listeners and clusters of Envoy replace it")
            } else {
                format!("{key}: unknown; the keys are {}", self.known.join(", "))
            });
        }
        if self.errors.is_empty() {
            Ok(parsed)
        } else {
            Err(self.errors)
        }
    }

    pub(super) fn error(&mut self, key: &str, text: &str) {
        self.errors.push(format!("{key}: {text}"));
    }

    /// Keeps errors that name their source themselves.
    pub(super) fn errors(&mut self, errors: impl IntoIterator<Item = String>) {
        self.errors.extend(errors);
    }

    pub(super) const fn environment(&self) -> &'a dyn Fn(&str) -> Option<String> {
        self.environment
    }

    /// Returns a variable. An empty one counts as unset, as OpenTelemetry's specification requires.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// Returns the values of these keys as one text.
    pub(super) fn text_of(&self, keys: &[&str]) -> String {
        let values: Vec<&Value> = keys
            .iter()
            .map(|key| self.values.get(*key).unwrap_or(&Value::Null))
            .collect();
        serde_json::to_string(&values).unwrap_or_default()
    }

    /// Returns a value as text: a list as its items with commas between them.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        let text = plain_text(value);
        if text.is_none() {
            self.error(key, "is nested; write it as one text");
        }
        text
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.word(key, &[("true", true), ("false", false)], default)
    }

    /// Reads one of several words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        let parsed = parse_word(&text, words);
        parsed.unwrap_or_else(|error| {
            self.error(key, &error);
            default
        })
    }

    /// Reads a number from 0 to 1.
    pub(super) fn ratio(&mut self, key: &'static str, default: f64) -> f64 {
        let Some(text) = self.text(key) else {
            return default;
        };
        match text.trim().parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                let remedy = "0.1 records a tenth of the traces";
                self.error(
                    key,
                    &format!("{text:?} is not a number from 0 to 1; {remedy}"),
                );
                default
            }
        }
    }

    /// Reads a number from 1 to `max`.
    pub(super) fn number(&mut self, key: &'static str, default: u32, max: u32) -> u32 {
        let Some(text) = self.text(key) else {
            return default;
        };
        match text.trim().parse::<u32>() {
            Ok(number) if (1..=max).contains(&number) => number,
            _ => {
                self.error(key, &format!("{text:?} is not a number from 1 to {max}"));
                default
            }
        }
    }

    /// Reads a size in bytes, which is not 0.
    pub(super) fn size(&mut self, key: &'static str, default: usize) -> usize {
        let Some(text) = self.text(key) else {
            return default;
        };
        match parse_size(&text) {
            Some(size) if size > 0 => size,
            _ => {
                self.error(
                    key,
                    &format!("{text:?} is not a size; write it as 64MiB or 1GiB"),
                );
                default
            }
        }
    }

    /// Reads a list of objects, given as JSON or as JSON in a text.
    pub(super) fn list<T: DeserializeOwned>(&mut self, key: &'static str, remedy: &str) -> Vec<T> {
        let value = match self.take(key) {
            None => return Vec::new(),
            Some(Value::String(text)) => serde_json::from_str(&text),
            Some(value) => serde_json::from_value(value),
        };
        value.unwrap_or_else(|error| {
            self.error(key, &format!("{error}; {remedy}"));
            Vec::new()
        })
    }

    /// Takes a value. A key without one keeps its default, as if it were not there.
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values
            .shift_remove(key)
            .filter(|value| !value.is_null())
    }
}

/// Finds a word among those that are supported.
///
/// # Errors
/// The supported words.
pub(super) fn parse_word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is not supported; use {}", known.join(" or "))
    })
}

fn plain_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(_) => Some(value.to_string()),
        Value::Number(number) => {
            // Numbers of a Struct are floating-point, and Envoy may write 1e+06.
            let float = number.as_f64()?;
            Some(float.to_string())
        }
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.into_iter().map(plain_text).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// Parses `64MiB`, `1g` or a number of bytes.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}
