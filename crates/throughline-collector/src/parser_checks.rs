//! Properties of the parsers that hold for any bytes. Shared by the tests and the fuzz targets.

use throughline_model::Span;
use throughline_otlp::{decode_json, decode_protobuf, encode_protobuf};
use throughline_query::{MetricsRange, ParsedQuery, SearchRequest};
use throughline_store::{MemoryStore, TraceQuery, WeavingView};

use crate::{jaeger_receiver, zipkin};

/// Checks that spans read from Zipkin's JSON can be sent on as OTLP.
///
/// # Panics
/// When they cannot.
pub fn check_zipkin(body: &[u8]) {
    if let Ok(decoded) = zipkin::decode(body) {
        survive_otlp(&decoded.spans);
    }
}

/// Checks that spans read from Jaeger's Thrift, in every form, can be sent on as OTLP.
///
/// # Panics
/// When they cannot.
pub fn check_jaeger(body: &[u8]) {
    for decoded in jaeger_receiver::decode_every_form(body) {
        survive_otlp(&decoded.spans);
    }
}

/// Two spans of one trace, for queries.
const SPANS: &[u8] = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[
    {"traceId":"00000000000000000000000000000001","spanId":"0000000000000001","name":"a",
     "startTimeUnixNano":"50","endTimeUnixNano":"90",
     "attributes":[{"key":"a","value":{"intValue":"3"}}]},
    {"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","name":"b",
     "parentSpanId":"0000000000000001","startTimeUnixNano":"60","endTimeUnixNano":"70",
     "attributes":[{"key":"b","value":{"stringValue":"x"}}]}]}]}]}"#;

/// Checks that a query can be evaluated; else, that its error lies within it and has a message.
///
/// # Panics
/// When that is not so.
pub fn check_query(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    match throughline_query::parse(&text) {
        Err(error) => {
            assert!(error.position <= text.chars().count(), "{error:?}");
            assert!(!error.message.is_empty(), "{error:?}");
        }
        Ok(Some(ParsedQuery::Spansets(spansets))) => {
            let request = SearchRequest {
                query: TraceQuery::default(),
                spansets: &spansets,
            };
            let page =
                throughline_query::search_matches(&spans_of_a_query(), request, |_, sets| sets);
            assert!(page.traces.iter().all(|trace| !trace.content.is_empty()));
        }
        Ok(Some(ParsedQuery::Metrics(expression))) => {
            let (store, range) = (spans_of_a_query(), MetricsRange::covering(0, 100, 10));
            let view = WeavingView::Raw;
            let result = throughline_query::evaluate_metrics(&store, &expression, range, view);
            // Fails only when the query has too many functions.
            let series = result.map(|it| it.series).unwrap_or_default();
            let mut samples = series.iter().flat_map(|it| &it.samples);
            assert!(samples.all(|sample| sample.value.is_finite()));
        }
        Ok(Some(ParsedQuery::Span(_) | ParsedQuery::Trace(_)) | None) => {}
    }
}

fn spans_of_a_query() -> MemoryStore {
    let store = MemoryStore::new(1 << 20);
    let decoded = decode_json(SPANS);
    store.insert(decoded.map(|it| it.spans).unwrap_or_default());
    store
}

fn survive_otlp(spans: &[Span]) {
    let again = decode_protobuf(&encode_protobuf(spans));
    // Compares the debug output, because NaN does not equal itself.
    let again = again.map(|decoded| format!("{:?}", decoded.spans));
    assert_eq!(again.ok(), Some(format!("{spans:?}")));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replay(target: &str, check: fn(&[u8])) {
        let seeds = format!("{}/../../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut replayed = 0;
        for seed in std::fs::read_dir(seeds).unwrap() {
            check(&std::fs::read(seed.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed > 5, "{replayed} seeds of {target}");
    }

    #[test]
    fn seeds_of_the_fuzz_targets_pass() {
        replay("zipkin", check_zipkin);
        replay("jaeger", check_jaeger);
        replay("query", check_query);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_pass(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_zipkin(&bytes);
            check_jaeger(&bytes);
            check_query(&bytes);
        }
    }
}
