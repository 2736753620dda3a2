//! Correlation: how the parents of outbound requests and records are found.

use serde::Deserialize;
use throughline_intercept::correlate::{
    CorrelationKey, Settings, SingleInFlightPolicy, TokenLocation,
};

use super::parser::ConfigParser;

/// Probability that a parent is wrong up to which `--sole measured` accepts it.
const MAX_SOLE_DOUBT: f64 = 0.01;

/// Least value of `--inference-threshold`: below it another parent may be more likely.
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

const KEYS_REMEDY: &str =
    "write them as [{name: order, header: x-order, record_key: true, body: /order/id}]";

/// A correlation key in YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCorrelationKey {
    name: String,
    header: Option<String>,
    #[serde(default)]
    record_key: bool,
    body: Option<String>,
}

// === impl ConfigParser ===

impl ConfigParser<'_> {
    pub(super) fn correlation(&mut self) -> Settings {
        let single_in_flight = self.word(
            "sole",
            &self.raw.options.sole,
            &SOLE_VALUES,
            SingleInFlightPolicy::default(),
        );
        let mut settings = Settings {
            single_in_flight,
            inference_threshold: self.inference_threshold(),
            ..Settings::default()
        };
        // The default keys, `x-request-id`, stay.
        settings.keys.extend(self.correlation_keys());
        settings
    }

    /// Returns the probability from which a parent is inferred, if it is.
    fn inference_threshold(&mut self) -> Option<f64> {
        let text = &self.raw.options.inference_threshold;
        if text == "off" {
            return None;
        }
        let threshold = text.parse().ok();
        let threshold = threshold.filter(|it| (MIN_THRESHOLD..=1.0).contains(it));
        if threshold.is_none() {
            let remedy = format!("{text:?} is not a number from {MIN_THRESHOLD} to 1, or off");
            self.error("inference_threshold", &remedy);
        }
        threshold
    }

    fn correlation_keys(&mut self) -> Vec<CorrelationKey> {
        let text = &self.raw.options.correlation_keys;
        let keys: Vec<RawCorrelationKey> = match serde_saphyr::from_str(text) {
            Ok(keys) => keys,
            Err(error) => {
                // The parser appends an excerpt of the source on further lines.
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                self.error(
                    "correlation_keys",
                    &format!("cannot be parsed: {line}; {KEYS_REMEDY}"),
                );
                return Vec::new();
            }
        };
        keys.into_iter()
            .filter_map(|key| self.correlation_key(key))
            .collect()
    }

    fn correlation_key(&mut self, raw: RawCorrelationKey) -> Option<CorrelationKey> {
        let RawCorrelationKey {
            name,
            header,
            record_key,
            body,
        } = raw;
        if let Some(pointer) = body.as_deref().filter(|pointer| !pointer.starts_with('/')) {
            self.error(
                "correlation_keys",
                &format!("{name}: {pointer:?} is not a JSON pointer; write it as /order/id"),
            );
            return None;
        }
        let locations = header.map(TokenLocation::Header).into_iter();
        let locations = locations
            .chain(record_key.then_some(TokenLocation::RecordKey))
            .chain(body.map(TokenLocation::Body));
        let key = CorrelationKey {
            name,
            locations: locations.collect(),
        };
        // A key that is found nowhere would silently correlate nothing.
        if key.locations.is_empty() {
            self.error(
                "correlation_keys",
                &format!("{}: has no source for its value; {KEYS_REMEDY}", key.name),
            );
            return None;
        }
        Some(key)
    }
}
