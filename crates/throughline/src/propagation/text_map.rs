//! Adapters between carriers and the text maps of OpenTelemetry, in both directions.

use opentelemetry::propagation::{Extractor, Injector};
use throughline_model::context::{Carrier, CarrierMut};

/// A carrier that reads OpenTelemetry's text map.
pub(super) struct ExtractorCarrier<'a>(pub(super) &'a dyn Extractor);

impl Carrier for ExtractorCarrier<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        // The last header wins, as in the codec; `get` of an extractor returns the first.
        let all = self
            .0
            .get_all(name)
            .and_then(|values| values.last().copied());
        all.or_else(|| self.0.get(name)).map(str::as_bytes)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        for key in self.0.keys() {
            match self.0.get_all(key) {
                Some(values) => values
                    .iter()
                    .for_each(|value| visit(key.as_bytes(), Some(value.as_bytes()))),
                None => visit(key.as_bytes(), self.0.get(key).map(str::as_bytes)),
            }
        }
    }
}

/// A carrier that writes OpenTelemetry's text map, which can set (and so replace), but neither read
/// nor remove.
pub(super) struct InjectorCarrier<'a>(pub(super) &'a mut dyn Injector);

impl Carrier for InjectorCarrier<'_> {
    fn each<'a>(&'a self, _visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {}
}

impl CarrierMut for InjectorCarrier<'_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        // All values that the codec writes are ASCII.
        self.0
            .set(name, String::from_utf8_lossy(value).into_owned());
    }

    fn remove(&mut self, _name: &str) {}
}

/// A carrier as a text map that a propagator of OpenTelemetry reads.
pub(super) struct CarrierText<'a>(pub(super) &'a dyn Carrier);

impl Extractor for CarrierText<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        // No format has a context that is not text.
        self.0
            .last(key)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    fn keys(&self) -> Vec<&str> {
        let mut keys = Vec::new();
        self.0
            .each(&mut |key, _| keys.extend(std::str::from_utf8(key).ok()));
        keys
    }
}

/// A carrier as a text map that a propagator of OpenTelemetry writes.
pub(super) struct CarrierTextMut<'a>(pub(super) &'a mut dyn CarrierMut);

impl Injector for CarrierTextMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.replace(key, value.as_bytes());
    }
}
