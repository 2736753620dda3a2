//! Properties of the parsers that hold for any bytes. Shared by the tests and the fuzz targets.

use throughline_model::Span;
use throughline_otlp::{decode_protobuf, encode_protobuf};

use crate::{jaeger_receiver, query, zipkin};

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

/// Checks that the error of a query lies within it and has a message.
///
/// # Panics
/// When it does not.
pub fn check_query(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    if let Err(error) = query::parse_query(&text) {
        assert!(error.position <= text.chars().count(), "{error:?}");
        assert!(!error.message.is_empty(), "{error:?}");
    }
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
