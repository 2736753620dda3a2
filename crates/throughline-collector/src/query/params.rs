//! The parameters of a query, with the names they go by.

use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use throughline_model::SpanKind;
use throughline_store::AttributeFilter;

use super::Failure;
use throughline_model::duration;

/// The parameters of a request, in order.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// All values of the parameter with this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of the first of these names that has one which is not empty.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        let is_set = |name: &str| {
            self.0
                .iter()
                .find(|(key, value)| key == name && !value.is_empty())
        };
        names
            .iter()
            .find_map(|name| is_set(name))
            .map(|(_, value)| value.as_str())
    }

    /// A value that must be readable when it is there.
    pub(super) fn read<T>(
        &self,
        names: &[&str],
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.first(names) else {
            return Ok(None);
        };
        let name = names.first().copied().unwrap_or_default();
        parse(text)
            .map(Some)
            .ok_or_else(|| Failure::Bad(format!("parameter {name} must be {what}, not {text:?}")))
    }

    /// A range of durations, from two parameters in Go's notation.
    pub(super) fn durations(
        &self,
        min: &[&str],
        max: &[&str],
    ) -> Result<RangeInclusive<u64>, Failure> {
        let what = "a duration such as 100ms or 1.5s";
        let least = self.read(min, what, duration::parse)?.unwrap_or(0);
        let most = self.read(max, what, duration::parse)?.unwrap_or(u64::MAX);
        if most < least {
            let name = max.first().copied().unwrap_or_default();
            return Err(Failure::Bad(format!(
                "parameter {name} is less than the minimum"
            )));
        }
        Ok(least..=most)
    }

    /// How many traces are wanted.
    pub(super) fn limit(&self, names: &[&str]) -> Result<usize, Failure> {
        let limit = self.read(names, "a whole number above 0", |text| {
            text.parse().ok().filter(|limit| *limit > 0)
        })?;
        Ok(limit.unwrap_or(100).min(super::SEARCH_TRACES_MAX))
    }

    /// A kind of span.
    pub(super) fn kind(&self, names: &[&str]) -> Result<Option<SpanKind>, Failure> {
        self.read(
            names,
            "internal, server, client, producer or consumer",
            SpanKind::from_name,
        )
    }
}

/// Attribute filters from a JSON object of texts; numbers and truths are taken too.
pub(super) fn filters(text: &str) -> Option<Vec<AttributeFilter>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let filter = |(key, value): (String, serde_json::Value)| {
        let value = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
            serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => return None,
        };
        Some(AttributeFilter { key, value })
    };
    object.into_iter().map(filter).collect()
}

/// Nanoseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
