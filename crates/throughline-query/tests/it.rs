//! Queries over spans in a store.

#[path = "it/metrics.rs"]
mod metrics;
#[path = "it/shop.rs"]
mod shop;
#[path = "it/spansets.rs"]
mod spansets;
