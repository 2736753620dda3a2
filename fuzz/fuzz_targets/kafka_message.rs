//! Any body of any message: opened without a panic; moved and narrowed, it is well-formed again.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-kafka/tests/checks/message.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::any_body(bytes));
