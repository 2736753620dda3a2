//! Rules for the parents of outbound requests and records.

use serde::Deserialize;

use super::source::OptionReader;
use crate::correlate::{CorrelationKey, Settings, SingleInFlightPolicy, TokenLocation};

/// Probability that a parent is wrong up to which `sole: measured` accepts it.
const MAX_SOLE_DOUBT: f64 = 0.01;

/// Least value of `inference_threshold`: below it another parent may be more likely.
const MIN_THRESHOLD: f64 = 0.5;

const SOLE_VALUES: [(&str, SingleInFlightPolicy); 3] = [
    (
        "measured",
        SingleInFlightPolicy::Measured {
            max_doubt: MAX_SOLE_DOUBT,
        },
    ),
    ("never", SingleInFlightPolicy::Never),
    ("always", SingleInFlightPolicy::Assumed),
];

const CORRELATION_KEYS: &str = "correlation_keys";
const KEYS_REMEDY: &str =
    "write them as [{name: order, header: x-order, record_key: true, body: /order/id}]";

/// A correlation key as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCorrelationKey {
    name: String,
    header: Option<String>,
    #[serde(default)]
    record_key: bool,
    body: Option<String>,
}

/// Reads the rules for parents of outbound messages.
pub fn correlation_settings(source: &mut impl OptionReader) -> Settings {
    let single_in_flight = source.word("sole", &SOLE_VALUES, SingleInFlightPolicy::default());
    let default = Settings::default().inference_threshold;
    let inference_threshold = source.parsed("inference_threshold", parse_threshold, default);
    let mut settings = Settings {
        single_in_flight,
        inference_threshold,
        ..Settings::default()
    };
    let keys: Vec<RawCorrelationKey> = source.entries(CORRELATION_KEYS).unwrap_or_else(|error| {
        let mistake = format!("cannot be parsed: {error}; {KEYS_REMEDY}");
        source.error(CORRELATION_KEYS, &mistake);
        Vec::new()
    });
    for key in keys {
        match correlation_key(key) {
            // The default keys, `x-request-id`, stay.
            Ok(key) => settings.keys.push(key),
            Err(mistake) => source.error(CORRELATION_KEYS, &mistake),
        }
    }
    settings
}

/// Parses the probability from which a parent is inferred, if it is.
fn parse_threshold(text: &str) -> Result<Option<f64>, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let threshold = text.parse().ok();
    let threshold = threshold.filter(|it| (MIN_THRESHOLD..=1.0).contains(it));
    threshold
        .map(Some)
        .ok_or_else(|| format!("{text:?} is not a number from {MIN_THRESHOLD} to 1, or off"))
}

fn correlation_key(raw: RawCorrelationKey) -> Result<CorrelationKey, String> {
    let RawCorrelationKey {
        name,
        header,
        record_key,
        body,
    } = raw;
    if let Some(pointer) = body.as_deref().filter(|pointer| !pointer.starts_with('/')) {
        return Err(format!(
            "{name}: {pointer:?} is not a JSON pointer; write it as /order/id"
        ));
    }
    let locations = header.map(TokenLocation::Header).into_iter();
    let locations: Vec<TokenLocation> = locations
        .chain(record_key.then_some(TokenLocation::RecordKey))
        .chain(body.map(TokenLocation::Body))
        .collect();
    // A key that is found nowhere would silently correlate nothing.
    if locations.is_empty() {
        return Err(format!(
            "{name}: has no source for its value; {KEYS_REMEDY}"
        ));
    }
    Ok(CorrelationKey { name, locations })
}
