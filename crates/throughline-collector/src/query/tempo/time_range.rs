//! Times as Tempo's clients write them.

use throughline_model::duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::query_params::QueryParams;
use super::super::state::QueryError;
use crate::clock;

/// Nanoseconds of a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Numbers from here on are nanoseconds, below they are seconds: Tempo takes both.
const MIN_NANOSECONDS: u64 = 1_000_000_000_000;

/// Default range of metrics, as in Tempo.
const DEFAULT_SINCE: u64 = 3600 * SECOND;

/// Parses `start` and `end`, in nanoseconds since the Unix epoch.
pub(super) fn bounds(params: &QueryParams) -> Result<(Option<u64>, Option<u64>), QueryError> {
    let expected = "seconds or nanoseconds since the Unix epoch, or a time of RFC 3339";
    let start = params.parse(&["start"], expected, parse)?;
    let end = params.parse(&["end"], expected, parse)?;
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(QueryError::Invalid(
            "parameter end is before start: swap them".to_owned(),
        ));
    }
    Ok((start, end))
}

/// Parses the range of a metrics query: `start` and `end`, or `since`, by default an hour.
pub(super) fn range(params: &QueryParams) -> Result<(u64, u64), QueryError> {
    let (start, end) = bounds(params)?;
    let end = end.unwrap_or_else(clock::now);
    let expected = "a duration such as 15m";
    let since = params.parse(&["since"], expected, duration::parse)?;
    let start = start.unwrap_or_else(|| end.saturating_sub(since.unwrap_or(DEFAULT_SINCE)));
    Ok((start, end.max(start)))
}

/// Parses a step: a duration, or a number of seconds as in Prometheus.
pub(super) fn step(params: &QueryParams) -> Result<Option<u64>, QueryError> {
    let parse = |text: &str| {
        let seconds: Option<f64> = text.parse().ok();
        let nanoseconds = match seconds {
            Some(seconds) => duration::parse(&format!("{seconds}s")),
            None => duration::parse(text),
        };
        nanoseconds.filter(|step| *step > 0)
    };
    params.parse(&["step"], "a duration such as 15s, above 0", parse)
}

fn parse(text: &str) -> Option<u64> {
    if let Ok(number) = text.parse::<u64>() {
        let is_nanoseconds = number >= MIN_NANOSECONDS;
        return Some(if is_nanoseconds {
            number
        } else {
            number.saturating_mul(SECOND)
        });
    }
    // Some versions of Grafana send seconds with a fraction.
    if let Some(seconds) = text.parse::<f64>().ok().filter(|it| *it >= 0.0) {
        return duration::parse(&format!("{seconds}s"));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos().max(0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_time_are_equal() {
        for text in [
            "1700000000",
            "1700000000000000000",
            "1700000000.0",
            "2023-11-14T22:13:20Z",
        ] {
            assert_eq!(parse(text), Some(1_700_000_000 * SECOND), "{text}");
        }
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("-1"), None);
    }
}
