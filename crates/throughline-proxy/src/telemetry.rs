//! Metrics, health and log lines of the proxy.

pub(crate) mod admin;
pub(crate) mod log_throttle;
pub(crate) mod metrics;
pub(crate) mod reporter;
