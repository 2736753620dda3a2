//! Metrics, health and log lines of the proxy.

pub(crate) mod admin;
pub(crate) mod kafka_metrics;
pub(crate) mod log_throttle;
pub(crate) mod propagation_log;
pub(crate) mod reporter;
pub(crate) mod skip_log;
