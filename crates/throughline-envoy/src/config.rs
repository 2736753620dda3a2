//! The configuration of a filter: JSON, with the keys of the sidecar's file.
//!
//! Envoy passes a `Struct` as JSON and a `StringValue` as its text. Values may be written as text,
//! as in the sidecar's environment variables, or as the JSON type that they are. All mistakes are
//! reported together, and the configuration is refused.

mod reader;
mod settings;

use std::sync::Arc;

use throughline_intercept::kafka::{ClusterCapacity, Settings as KafkaSettings};
use throughline_intercept::options::{OptionReader as _, correlation_settings};

use self::reader::ConfigReader;
use crate::http_filter::HttpFilterSettings;
use crate::kafka_filter::BrokerListener;
use crate::tracing_process::SharedConfig;

/// Keys whose values are shared by all filters of a process.
const SHARED_KEYS: [&str; 7] = [
    "collector",
    "correlation_keys",
    "inference_threshold",
    "max_spans_per_second",
    "memory",
    "service",
    "sole",
];

/// Default of `memory`, in bytes.
const DEFAULT_MEMORY: usize = 256 << 20;
const MAX_SPANS_PER_SECOND: u32 = 10_000_000;

/// The configuration of one filter.
#[derive(Debug)]
pub struct Config {
    /// The part that all filters of the process share.
    pub shared: SharedConfig,
    /// Tracing of Kafka connections.
    pub kafka: Arc<KafkaSettings>,
    /// Tracing of HTTP requests.
    pub http: HttpFilterSettings,
    /// Addresses that clients get in place of the brokers' own.
    pub brokers: Arc<[BrokerListener]>,
    /// Whether an ABI that the module was not tested with is accepted.
    pub accepts_any_abi: bool,
}

// === impl Config ===

impl Config {
    /// Parses the text of a filter's configuration; an empty one has all defaults. Variables are
    /// those of OpenTelemetry (`OTEL_*`).
    ///
    /// # Errors
    /// All mistakes, each with its remedy.
    pub fn parse(
        text: &[u8],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let mut reader = ConfigReader::new(text, environment)?;
        let identity = reader.text_of(&SHARED_KEYS);
        let memory = reader.byte_size("memory", DEFAULT_MEMORY);
        let defaults = ClusterCapacity::default();
        let capacity = ClusterCapacity {
            max_held_bytes: memory,
            max_spans_per_second: reader.number(
                "max_spans_per_second",
                defaults.max_spans_per_second,
                MAX_SPANS_PER_SECOND,
            ),
            ..defaults
        };
        let kafka = Arc::new(settings::kafka(&mut reader, memory));
        let config = Self {
            shared: SharedConfig {
                identity,
                export: settings::export(&mut reader),
                correlation: correlation_settings(&mut reader),
                capacity,
            },
            http: settings::http(&mut reader, &kafka),
            kafka,
            brokers: settings::brokers(&mut reader).into(),
            accepts_any_abi: reader.word("envoy_abi", &[("tested", false), ("any", true)], false),
        };
        reader.finish(config)
    }
}

#[cfg(test)]
mod tests;
