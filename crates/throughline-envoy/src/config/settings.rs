//! The settings that a configuration is made of.

use serde::Deserialize;
use throughline_export::{Config as ExportConfig, ExportProtocol, OtlpEndpoint, instance_id};
use throughline_intercept::http::{Direction, RouteTemplate};
use throughline_intercept::kafka::{SessionLimits, Settings as KafkaSettings};
use throughline_intercept::options::{OptionReader as _, check_limits, kafka_settings};

use super::reader::ConfigReader;
use crate::http_filter::HttpFilterSettings;
use crate::kafka_filter::BrokerListener;

const DIRECTION_VALUES: [(&str, Direction); 2] = [
    ("inbound", Direction::Inbound),
    ("outbound", Direction::Outbound),
];
const BROKERS_REMEDY: &str = "write them as [{broker: kafka-0:9092, listener: 127.0.0.1:19092}]";

/// A broker and the listener that leads to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BrokerEntry {
    broker: String,
    listener: String,
}

/// Reads the settings of Kafka connections. By default no frame is longer than the whole memory.
pub(super) fn kafka(reader: &mut ConfigReader<'_>, memory: usize) -> KafkaSettings {
    let default = SessionLimits::default().max_frame_bytes.min(memory);
    let max_frame_bytes = reader.byte_size("max_frame", default);
    let settings = kafka_settings(reader, max_frame_bytes, instance_id());
    check_limits(reader, &settings, memory);
    settings
}

/// Reads the settings of HTTP requests, with those of Kafka where both have the same one.
pub(super) fn http(reader: &mut ConfigReader<'_>, kafka: &KafkaSettings) -> HttpFilterSettings {
    let directions = DIRECTION_VALUES.map(|(word, direction)| (word, Some(direction)));
    HttpFilterSettings {
        direction: reader.word("direction", &directions, None),
        read: kafka.read.clone(),
        write: kafka.write.clone(),
        match_propagation: kafka.match_propagation,
        names_spans: reader.boolean("span_names", true),
        routes: routes(reader),
    }
}

fn routes(reader: &mut ConfigReader<'_>) -> Vec<RouteTemplate> {
    let text = reader.text("routes").unwrap_or_default();
    let mut routes = Vec::new();
    for route in text
        .split(',')
        .map(str::trim)
        .filter(|route| !route.is_empty())
    {
        match route.parse() {
            Ok(route) => routes.push(route),
            Err(error) => reader.error("routes", &format!("{route:?} {error}")),
        }
    }
    routes
}

/// Reads the exporter's settings: OpenTelemetry's variables, and `collector`.
pub(super) fn export(reader: &mut ConfigReader<'_>) -> ExportConfig {
    let mut config = match ExportConfig::from_environment(reader.environment()) {
        Ok(config) => config,
        Err(errors) => {
            for error in errors {
                reader.push_error(error.to_string());
            }
            ExportConfig::to(OtlpEndpoint::local(ExportProtocol::default()))
        }
    };
    if let Some(url) = reader.text("collector") {
        match OtlpEndpoint::collector(&url, config.endpoint.protocol()) {
            Ok(endpoint) => config.endpoint = endpoint,
            // The URL is not quoted: it may hold a password.
            Err(error) => reader.error("collector", &format!("is {error}")),
        }
    }
    config
}

/// Reads the addresses that clients get in place of the brokers' own.
pub(super) fn brokers(reader: &mut ConfigReader<'_>) -> Vec<BrokerListener> {
    let entries: Vec<BrokerEntry> = reader.entries("brokers").unwrap_or_else(|error| {
        reader.error(
            "brokers",
            &format!("cannot be parsed: {error}; {BROKERS_REMEDY}"),
        );
        Vec::new()
    });
    let mut brokers = Vec::new();
    for entry in entries {
        match (host_port(&entry.broker), host_port(&entry.listener)) {
            (Some(broker), Some((host, port))) => brokers.push(BrokerListener {
                broker,
                listener: (host.into(), port),
            }),
            (None, _) => reader.error("brokers", &not_an_address(&entry.broker)),
            (_, None) => reader.error("brokers", &not_an_address(&entry.listener)),
        }
    }
    brokers
}

fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn not_an_address(text: &str) -> String {
    format!("{text:?} is not a host and a port; {BROKERS_REMEDY}")
}
