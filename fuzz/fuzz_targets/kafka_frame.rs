//! Any stream: the output is independent of the chunks, complete, and buffered within the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-kafka/tests/checks/frame.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check_stream(bytes));
