//! Faults and load that must not harm the traffic through Envoy with the module: panics in each of
//! its hooks, resets, large frames, many connections, and peers that do not read.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows its figures"
)]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "../wire/mod.rs"]
mod wire;

mod fixture;
mod load;
mod panics;
mod resets;
mod soak;
