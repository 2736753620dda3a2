//! A connection on which anything is said: no panic, nothing lost, nothing held at its end, a second session changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-intercept/tests/support/conversation.rs"]
mod conversation;

fuzz_target!(|bytes: &[u8]| conversation::check_conversation(bytes));
