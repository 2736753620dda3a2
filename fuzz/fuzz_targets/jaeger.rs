//! Arbitrary bytes as a batch or datagram of Jaeger's Thrift: what is read can be sent on as OTLP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline_collector::parser_checks::check_jaeger;

fuzz_target!(|bytes: &[u8]| check_jaeger(bytes));
