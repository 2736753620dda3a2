//! Reads values of a JSON object one by one and keeps the mistakes.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use throughline_intercept::options::OptionReader;

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

    /// Returns the values of these keys as one text.
    pub(super) fn text_of(&self, keys: &[&str]) -> String {
        let values: Vec<&Value> = keys
            .iter()
            .map(|key| self.values.get(*key).unwrap_or(&Value::Null))
            .collect();
        serde_json::to_string(&values).unwrap_or_default()
    }

    /// Takes a value. A key without one keeps its default, as if it were not there.
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values
            .shift_remove(key)
            .filter(|value| !value.is_null())
    }
}

impl OptionReader for ConfigReader<'_> {
    /// Returns a value as text: a list as its items with commas between them.
    fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        let text = plain_text(value);
        if text.is_none() {
            self.error(key, "is nested; write it as one text");
        }
        text
    }

    /// Returns a list of objects, given as JSON or as JSON in a text.
    fn entries<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Vec<T>, String> {
        let entries = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => serde_json::from_str(&text),
            Some(value) => serde_json::from_value(value),
        };
        entries.map_err(|error| error.to_string())
    }

    fn environment(&self) -> &dyn Fn(&str) -> Option<String> {
        self.environment
    }

    fn name(&self, key: &str) -> String {
        key.to_owned()
    }

    fn push_error(&mut self, mistake: String) {
        self.errors.push(mistake);
    }
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
