//! Any stream: told the same however it is cut, nothing lost, nothing held past the cap.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-kafka/tests/checks/frame.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::any_stream(bytes));
