//! Any record set, and any payload in a valid batch: reading, injecting and patching lose nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-kafka/tests/checks/batch.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check_record_set_and_payload(bytes));
