//! Parsers of parameter values. An error names the parameter and the accepted notation.

use std::ops::RangeInclusive;

use throughline_model::duration;
use throughline_store::WeavingView;

use super::api_error::ApiError;
use crate::query::state::view_of;

/// Returns a text; an empty one counts as absent.
pub(super) fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

/// Parses a whole number within a range.
pub(super) fn count(
    name: &'static str,
    value: Option<&str>,
    range: RangeInclusive<usize>,
) -> Result<Option<usize>, ApiError> {
    let Some(value) = text(value) else {
        return Ok(None);
    };
    // Values are strings until here, so that errors are ours and in JSON.
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        ApiError::invalid(
            name,
            format!("{name} must be a whole number from {least} to {most}, not {value:?}"),
        )
    })
}

/// Parses microseconds since the Unix epoch into nanoseconds.
pub(super) fn time(name: &'static str, value: Option<&str>) -> Result<Option<u64>, ApiError> {
    let Some(value) = text(value) else {
        return Ok(None);
    };
    let number: Option<u64> = value.parse().ok();
    number
        .map(|number| Some(number.saturating_mul(1000)))
        .ok_or_else(|| {
            let message = format!(
                "{name} must be a whole number of microseconds since the Unix epoch, not {value:?}"
            );
            ApiError::invalid(name, message)
        })
}

/// Parses microseconds since the Unix epoch into the last nanosecond of that microsecond.
pub(super) fn time_until(name: &'static str, value: Option<&str>) -> Result<Option<u64>, ApiError> {
    Ok(time(name, value)?.map(|time| time.saturating_add(999)))
}

/// Parses a duration into nanoseconds.
pub(super) fn duration(name: &'static str, value: Option<&str>) -> Result<Option<u64>, ApiError> {
    let Some(value) = text(value) else {
        return Ok(None);
    };
    // A number without a unit is in microseconds, as everywhere in this API.
    let microseconds = value
        .parse::<u64>()
        .ok()
        .map(|number| number.saturating_mul(1000));
    let nanoseconds = microseconds.or_else(|| duration::parse(value));
    nanoseconds.map(Some).ok_or_else(|| {
        let message = format!(
            "{name} must be a duration such as 100ms or 1.5s, or a number of microseconds, \
             not {value:?}"
        );
        ApiError::invalid(name, message)
    })
}

/// Parses `raw`.
pub(super) fn view(value: Option<&str>) -> Result<WeavingView, ApiError> {
    boolean("raw", value).map(view_of)
}

/// Parses a boolean; false when absent.
pub(super) fn boolean(name: &'static str, value: Option<&str>) -> Result<bool, ApiError> {
    match text(value) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(ApiError::invalid(
            name,
            format!("{name} must be true or false, not {other:?}"),
        )),
    }
}
