//! What the proxy reports about itself: metrics, health and log lines.

pub(crate) mod admin;
pub(crate) mod log_throttle;
pub(crate) mod metrics;
pub(crate) mod reporter;
