//! Arbitrary bytes as a query line: an error lies within it and has a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use throughline_collector::parser_checks::check_query;

fuzz_target!(|bytes: &[u8]| check_query(bytes));
