//! Any bytes at all as an export request, in protobuf and in JSON: reading must not panic, and what is read must be written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-otlp/tests/checks/otlp.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::reading_and_writing_agree(bytes));
