//! Queries over spans in a store.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "it/metrics.rs"]
mod metrics;
#[path = "it/shop.rs"]
mod shop;
#[path = "it/spansets.rs"]
mod spansets;
