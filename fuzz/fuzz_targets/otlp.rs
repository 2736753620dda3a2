//! Arbitrary bytes as an export request in protobuf and JSON: decoding must not panic, and decoded
//! spans must survive a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-otlp/tests/checks/otlp.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::reading_and_writing_agree(bytes));
