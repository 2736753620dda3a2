//! Arbitrary headers: the context codec must not panic, and extracted contexts must survive a round
//! trip.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-model/tests/checks/context.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::reading_and_writing_agree(&checks::headers(bytes)));
