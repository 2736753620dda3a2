//! Configuration keys with a rule of their own.

/// Options that a configuration file cannot set: the file's own name, and what to do with it.
pub(crate) const NOT_IN_FILE: [&str; 2] = ["config", "check"];

/// Options that take effect when the file is reloaded; all others need a restart.
pub(crate) const RELOADABLE: [&str; 19] = [
    "ignore_paths",
    "request_id",
    "trust",
    "match_propagation",
    "routes",
    "ignore_telemetry",
    "service",
    "strip_client_id",
    "sample",
    "naming",
    "propagation",
    "inject",
    "inject_unsampled",
    "relation",
    "deliver",
    "settle",
    "message_key",
    "topics",
    "max_frame",
];

/// Former keys of options, each with the present one. The old option, environment variable and key
/// still work, with a warning.
pub(crate) const RENAMED: [(&str, &str); 2] = [
    ("answer_timeout", "response_timeout"),
    ("keys", "correlation_keys"),
];
