//! Any record set, and any records with a good checksum around them: read, changed, patched, and nothing lost.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-kafka/tests/checks/batch.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::any_record_set_and_payload(bytes));
