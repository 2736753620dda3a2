//! Arbitrary bytes as Zipkin's JSON of either version: what is read can be sent on as OTLP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline_collector::parser_checks::check_zipkin;

fuzz_target!(|bytes: &[u8]| check_zipkin(bytes));
