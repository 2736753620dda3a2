//! Any conversation: no panic, no byte lost, none held at the end, and a second session changes
//! nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/throughline-intercept/tests/support/conversation.rs"]
mod conversation;

fuzz_target!(|bytes: &[u8]| conversation::check_conversation(bytes));
