//! Any message body: parsing never panics, and an edited body is well-formed.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-kafka/tests/checks/message.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check_body(bytes));
