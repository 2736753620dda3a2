//! The values of parameters: read, or refused with words that say how they are written.

use std::ops::RangeInclusive;

use super::Refusal;
use throughline_model::duration;

/// A text; an empty one is none.
pub(super) fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

/// A number in a range.
pub(super) fn count(
    name: &'static str,
    value: Option<&str>,
    range: RangeInclusive<usize>,
) -> Result<Option<usize>, Refusal> {
    let Some(value) = text(value) else {
        return Ok(None);
    };
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        Refusal::of(
            name,
            format!("{name} is a whole number from {least} to {most}, not {value:?}"),
        )
    })
}

/// A moment in microseconds since the Unix epoch; told in nanoseconds.
pub(super) fn time(name: &'static str, value: Option<&str>) -> Result<Option<u64>, Refusal> {
    let Some(value) = text(value) else {
        return Ok(None);
    };
    let number: Option<u64> = value.parse().ok();
    number
        .map(|number| Some(number.saturating_mul(1000)))
        .ok_or_else(|| {
            Refusal::of(
                name,
                format!(
                    "{name} is a whole number of microseconds since the Unix epoch, not {value:?}"
                ),
            )
        })
}

/// The same, to the end of that microsecond.
pub(super) fn time_until(name: &'static str, value: Option<&str>) -> Result<Option<u64>, Refusal> {
    Ok(time(name, value)?.map(|time| time.saturating_add(999)))
}

/// A duration, in nanoseconds.
pub(super) fn duration(name: &'static str, value: Option<&str>) -> Result<Option<u64>, Refusal> {
    let Some(value) = text(value) else {
        return Ok(None);
    };
    let microseconds = value
        .parse::<u64>()
        .ok()
        .map(|number| number.saturating_mul(1000));
    microseconds.or_else(|| duration::parse(value)).map(Some).ok_or_else(|| {
        Refusal::of(
            name,
            format!("{name} is a duration such as 100ms or 1.5s, or a number of microseconds, not {value:?}"),
        )
    })
}

/// A truth; false when absent.
pub(super) fn truth(name: &'static str, value: Option<&str>) -> Result<bool, Refusal> {
    match text(value) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Refusal::of(
            name,
            format!("{name} is true or false, not {other:?}"),
        )),
    }
}
