//! Parses the raw configuration into the typed one: all of it, or every error in it, before a
//! socket is bound.

mod contradiction;
mod export;
mod http;
mod kafka;
mod listeners;
mod parser;
mod tls;

use std::sync::Arc;

use throughline_intercept::http::Settings as HttpSettings;
use throughline_intercept::kafka::{ClusterCapacity, Settings as KafkaSettings};
use throughline_intercept::options::{OptionReader as _, check_limits};
use throughline_proxy::{Config, ConnectionLimits};
use tracing_subscriber::EnvFilter;

use self::parser::ConfigParser;
use crate::sidecar::raw_config::RawConfig;

const MAX_CONNECTIONS: usize = 1_000_000;
const MAX_SPANS_PER_SECOND: u32 = 10_000_000;

/// The typed configuration of a sidecar.
#[derive(Debug)]
pub(crate) struct SidecarConfig {
    pub(crate) proxy: Config,
    pub(crate) export: throughline_export::Config,
    pub(crate) log_filter: EnvFilter,
}

/// The reloadable part of the configuration.
#[derive(Debug)]
pub(crate) struct TracingSettings {
    pub(crate) kafka: Arc<KafkaSettings>,
    pub(crate) http: Arc<HttpSettings>,
}

/// Parses the whole configuration.
///
/// # Errors
/// Every error, each with its remedy.
pub(crate) fn parse(
    raw: &RawConfig,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<SidecarConfig, Vec<String>> {
    let mut parser = ConfigParser::new(raw, environment);
    let listeners = parser.listeners();
    let admin = parser.admin(&listeners);
    let (broker_tls, client_tls) = (parser.broker_tls(), parser.client_tls());
    let options = &raw.options;
    let limits = ConnectionLimits {
        max_connections: parser.number("connections", MAX_CONNECTIONS, MAX_CONNECTIONS),
        connect_timeout: parser.timeout("connect_timeout", &options.connect_timeout),
        drain_timeout: parser.duration("drain", &options.drain),
    };
    let capacity = ClusterCapacity {
        max_held_bytes: parser.memory(),
        max_spans_per_second: parser.number(
            "max_spans_per_second",
            MAX_SPANS_PER_SECOND,
            MAX_SPANS_PER_SECOND,
        ),
        ..ClusterCapacity::default()
    };
    let settings = parser.kafka_settings();
    check_limits(&mut parser, &settings, capacity.max_held_bytes);
    parser.options_without_effect();
    // The order of these lines is that of the errors in the message.
    let export = parser.export();
    let log_filter = parser.log_filter();
    let http_settings = parser.http_settings(&settings, &export.endpoint);
    let mut http = parser.http(http_settings, limits.connect_timeout);
    // Kafka and HTTP have the limit each.
    http.limits.max_spans_per_second = capacity.max_spans_per_second;
    let proxy = Config {
        listeners,
        broker_tls,
        client_tls,
        admin,
        limits,
        capacity,
        settings,
        http,
    };
    parser.finish(SidecarConfig {
        proxy,
        export,
        log_filter,
    })
}

/// Parses the reloadable part alone.
///
/// # Errors
/// Every error in it.
pub(crate) fn parse_tracing_settings(
    raw: &RawConfig,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<TracingSettings, Vec<String>> {
    let mut parser = ConfigParser::new(raw, environment);
    let kafka = parser.kafka_settings();
    // An error in the memory itself is one of an option that a reload does not change.
    let max_held_bytes = parser.memory();
    check_limits(&mut parser, &kafka, max_held_bytes);
    let export = parser.export();
    let http = parser.http_settings(&kafka, &export.endpoint);
    parser.finish(TracingSettings { kafka, http })
}

#[cfg(test)]
mod tests;
