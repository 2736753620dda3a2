//! The query parameters of Jaeger's APIs.

use std::ops::RangeInclusive;

use throughline_model::{SpanKind, duration};
use throughline_store::{TagCondition, WeavingView};

use super::state::{MAX_SEARCH_TRACES, QueryError, view_of};

/// Number of traces of a search without a limit; Jaeger's default.
pub(super) const DEFAULT_LIMIT: usize = 100;

/// The parameters of a request, in order.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct QueryParams(Vec<(String, String)>);

impl QueryParams {
    /// Returns all values of the parameter with this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the entries of a map that is written as one parameter for each key, `name[key]`.
    pub(super) fn entries(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(move |(own, value)| {
            let key = own.strip_prefix(name)?.strip_prefix('[')?;
            Some((key.strip_suffix(']')?, value.as_str()))
        })
    }

    /// Returns the value of the first of these names that has a non-empty one.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        // Grafana sends the fields of its form that were left empty.
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

    /// Parses the value of a parameter, if any. `expected` describes it for the error message.
    pub(super) fn parse<T>(
        &self,
        names: &[&str],
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, QueryError> {
        let Some(text) = self.first(names) else {
            return Ok(None);
        };
        let name = names.first().copied().unwrap_or_default();
        // The error names the documented spelling, whichever one was used.
        parse(text).map(Some).ok_or_else(|| {
            QueryError::Invalid(format!("parameter {name} must be {expected}, not {text:?}"))
        })
    }

    /// Parses a range of durations from two parameters in Go's notation.
    pub(super) fn durations(
        &self,
        min: &[&str],
        max: &[&str],
    ) -> Result<RangeInclusive<u64>, QueryError> {
        let expected = "a duration such as 100ms or 1.5s";
        let least = self.parse(min, expected, duration::parse)?.unwrap_or(0);
        let most = self
            .parse(max, expected, duration::parse)?
            .unwrap_or(u64::MAX);
        if most < least {
            let name = max.first().copied().unwrap_or_default();
            return Err(QueryError::Invalid(format!(
                "parameter {name} is less than the minimum"
            )));
        }
        Ok(least..=most)
    }

    /// Parses the maximum number of traces.
    pub(super) fn limit(&self, names: &[&str]) -> Result<usize, QueryError> {
        let limit = self.parse(names, "a whole number above 0", |text| {
            text.parse().ok().filter(|limit| *limit > 0)
        })?;
        Ok(limit.unwrap_or(DEFAULT_LIMIT).min(MAX_SEARCH_TRACES))
    }

    /// Parses `raw`: traces as they were reported, without joins.
    pub(super) fn view(&self) -> Result<WeavingView, QueryError> {
        let is_raw = self.parse(&["raw"], "true or false", |text| text.parse().ok())?;
        Ok(view_of(is_raw.unwrap_or(false)))
    }

    /// Parses a span kind.
    pub(super) fn kind(&self, names: &[&str]) -> Result<Option<SpanKind>, QueryError> {
        self.parse(
            names,
            "internal, server, client, producer or consumer",
            SpanKind::from_name,
        )
    }
}

/// Parses tags from a JSON object. Jaeger requires string values; numbers and booleans are accepted
/// too.
pub(super) fn parse_tags(text: &str) -> Option<Vec<TagCondition>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let tag = |(key, value): (String, serde_json::Value)| {
        let value = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
            // Jaeger has no tags of these types.
            serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => return None,
        };
        Some(TagCondition { key, value })
    };
    object.into_iter().map(tag).collect()
}
