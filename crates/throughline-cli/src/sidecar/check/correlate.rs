//! How the parents of what a service sends are found.

use serde::Deserialize;
use throughline_intercept::correlate::{
    CorrelationKey, Settings, SingleInFlightPolicy, TokenLocation,
};

use super::Check;

/// A key, as the user writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    header: Option<String>,
    #[serde(default)]
    record_key: bool,
    body: Option<String>,
}

// === impl Check ===

impl Check<'_> {
    pub(super) fn correlate(&mut self) -> Settings {
        let sole = self.word(
            "sole",
            &self.told.options.sole,
            &SOLES,
            SingleInFlightPolicy::default(),
        );
        let mut settings = Settings {
            single_in_flight: sole,
            ..Settings::default()
        };
        settings.keys.extend(self.keys());
        settings
    }

    fn keys(&mut self) -> Vec<CorrelationKey> {
        let named: Vec<Named> = match serde_saphyr::from_str(&self.told.options.keys) {
            Ok(named) => named,
            Err(error) => {
                let line = error
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                self.mistake("keys", &format!("cannot be understood: {line}; {MEND}"));
                return Vec::new();
            }
        };
        named
            .into_iter()
            .filter_map(|named| self.key(named))
            .collect()
    }

    fn key(&mut self, named: Named) -> Option<CorrelationKey> {
        let Named {
            name,
            header,
            record_key,
            body,
        } = named;
        if let Some(pointer) = body.as_deref().filter(|pointer| !pointer.starts_with('/')) {
            self.mistake(
                "keys",
                &format!("{name}: {pointer:?} is no JSON pointer; write it as /order/id"),
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
        if key.locations.is_empty() {
            self.mistake(
                "keys",
                &format!("{}: says nowhere where its value stands; {MEND}", key.name),
            );
            return None;
        }
        Some(key)
    }
}

const SOLES: [(&str, SingleInFlightPolicy); 3] = [
    (
        "measured",
        SingleInFlightPolicy::Measured { max_doubt: 0.01 },
    ),
    ("never", SingleInFlightPolicy::Never),
    ("always", SingleInFlightPolicy::Assumed),
];

const MEND: &str =
    "write them as [{name: order, header: x-order, record_key: true, body: /order/id}]";
