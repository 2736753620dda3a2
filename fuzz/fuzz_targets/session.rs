//! A connection on which anything is said: no panic, nothing lost, nothing held at its end, a second session changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-intercept/tests/support/any.rs"]
mod any;

fuzz_target!(|bytes: &[u8]| any::any_conversation(bytes));
