//! The settings that a configuration is made of.

use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Value;
use throughline_export::{Config as ExportConfig, ExportProtocol, OtlpEndpoint};
use throughline_intercept::correlate::{
    CorrelationKey, Settings as CorrelationSettings, SingleInFlightPolicy, TokenLocation,
};
use throughline_intercept::http::{Direction, RouteTemplate};
use throughline_intercept::kafka::{
    DeliveryMode, InjectionMode, ServiceNaming, SessionLimits, Settings as KafkaSettings,
    SpanNaming, SpanRelation, TopicPattern, TopicSettings,
};
use throughline_model::context::{Format, FormatList};
use throughline_model::convention::SERVICE_NAME;
use throughline_model::environment::EnvironmentReader;
use throughline_model::{KeyValue, Resource};

use super::reader::{ConfigReader, parse_word};
use crate::http_filter::HttpFilterSettings;
use crate::kafka_filter::BrokerListener;

const NAMING_VALUES: [(&str, SpanNaming); 2] = [
    ("otel", SpanNaming::OpenTelemetry),
    ("opentracing", SpanNaming::OpenTracing),
];
const INJECT_VALUES: [(&str, InjectionMode); 5] = [
    ("always", InjectionMode::Always),
    ("uncompressed", InjectionMode::Uncompressed),
    ("never", InjectionMode::Never),
    ("true", InjectionMode::Always),
    ("false", InjectionMode::Never),
];
const RELATION_VALUES: [(&str, SpanRelation); 2] = [
    ("parent", SpanRelation::ParentAndLink),
    ("links", SpanRelation::LinksOnly),
];
const DELIVER_VALUES: [(&str, DeliveryMode); 2] = [
    ("observe", DeliveryMode::Observe),
    ("patch", DeliveryMode::Patch),
];
const DIRECTION_VALUES: [(&str, Direction); 2] = [
    ("inbound", Direction::Inbound),
    ("outbound", Direction::Outbound),
];
const SOLE_VALUES: [(&str, SingleInFlightPolicy); 3] = [
    (
        "measured",
        SingleInFlightPolicy::Measured { max_doubt: 0.01 },
    ),
    ("never", SingleInFlightPolicy::Never),
    ("always", SingleInFlightPolicy::Assumed),
];

/// Service name of a client without a client.id, where no service name is configured.
const FALLBACK_SERVICE_NAME: &str = "kafka-client";
const INSTANCE_ID: &str = "service.instance.id";

const TOPICS_REMEDY: &str = r#"write them as [{"topic": "audit-*", "inject": false}]"#;
const KEYS_REMEDY: &str = r#"write them as [{"name": "order", "header": "x-order"}]"#;
const BROKERS_REMEDY: &str =
    r#"write them as [{"broker": "kafka-0:9092", "listener": "127.0.0.1:19092"}]"#;

/// Settings of some topics, as in the sidecar's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicEntry {
    topic: String,
    inject: Option<Value>,
    relation: Option<String>,
    deliver: Option<String>,
    settle: Option<bool>,
    max_message_bytes: Option<f64>,
}

/// A correlation key, as in the sidecar's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CorrelationKeyEntry {
    name: String,
    header: Option<String>,
    #[serde(default)]
    record_key: bool,
    body: Option<String>,
}

/// A broker and the listener that leads to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BrokerEntry {
    broker: String,
    listener: String,
}

/// Reads the settings of Kafka connections. No frame may be longer than the whole memory.
pub(super) fn kafka(reader: &mut ConfigReader<'_>, memory: usize) -> KafkaSettings {
    let (resource, service) = resource(reader);
    let naming = reader.word("naming", &NAMING_VALUES, SpanNaming::default());
    let write = write_formats(reader);
    let others = Format::contexts().filter(|format| !write.contains(format));
    let read = write.iter().copied().chain(others).collect();
    let default = default_topic(reader, naming);
    let defaults = SessionLimits::default();
    let max_frame_bytes = reader.size("max_frame", defaults.max_frame_bytes.min(memory));
    if max_frame_bytes > memory {
        reader.error(
            "max_frame",
            "is greater than memory: no such frame could be kept",
        );
    }
    KafkaSettings {
        resource,
        service,
        naming,
        read,
        write,
        match_propagation: reader.boolean("match_propagation", true),
        sample_ratio: reader.ratio("sample", 1.0),
        inject: default.inject,
        inject_unsampled: reader.boolean("inject_unsampled", true),
        topics: topics(reader, &default),
        default,
        message_key: reader.boolean("message_key", false),
        limits: SessionLimits {
            max_frame_bytes,
            ..defaults
        },
        ..KafkaSettings::default()
    }
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
            reader.errors(errors.iter().map(ToString::to_string));
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

/// Reads the rules for parents of outbound messages.
pub(super) fn correlation(reader: &mut ConfigReader<'_>) -> CorrelationSettings {
    let mut settings = CorrelationSettings {
        single_in_flight: reader.word("sole", &SOLE_VALUES, SingleInFlightPolicy::default()),
        ..CorrelationSettings::default()
    };
    let entries: Vec<CorrelationKeyEntry> = reader.list("correlation_keys", KEYS_REMEDY);
    for entry in entries {
        match correlation_key(entry) {
            // The default keys, `x-request-id`, stay.
            Ok(key) => settings.keys.push(key),
            Err(error) => reader.error("correlation_keys", &error),
        }
    }
    settings
}

/// Reads the addresses that clients get in place of the brokers' own.
pub(super) fn brokers(reader: &mut ConfigReader<'_>) -> Vec<BrokerListener> {
    let entries: Vec<BrokerEntry> = reader.list("brokers", BROKERS_REMEDY);
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

/// Returns the resource of the spans: the configured service, else one for each client.
fn resource(reader: &mut ConfigReader<'_>) -> (Arc<Resource>, ServiceNaming) {
    let mut environment = EnvironmentReader::new(reader.environment());
    let (pairs, _) = environment.pairs_or_raw("OTEL_RESOURCE_ATTRIBUTES");
    let problems = environment.into_errors();
    reader.errors(problems.iter().map(ToString::to_string));
    let mut attributes: Vec<KeyValue> = pairs
        .into_iter()
        .map(|(key, value)| KeyValue::new(key, value))
        .collect();
    let position = attributes.iter().position(|pair| pair.key == SERVICE_NAME);
    let attribute = position.map(|index| attributes.remove(index));
    let attribute = attribute.and_then(|pair| pair.value.as_str().map(str::to_owned));
    let option = reader.text("service").map(|name| name.trim().to_owned());
    if option.as_deref() == Some("") {
        reader.error("service", "is empty; give it a name, or leave it out");
    }
    let name = option
        .or_else(|| reader.variable("OTEL_SERVICE_NAME"))
        .or(attribute);
    let is_stripped = reader.boolean("strip_client_id", true);
    let service = match (&name, is_stripped) {
        (Some(_), _) => ServiceNaming::Fixed,
        (None, true) => ServiceNaming::ByApplication,
        (None, false) => ServiceNaming::ByClientId,
    };
    let name = name.unwrap_or_else(|| FALLBACK_SERVICE_NAME.to_owned());
    attributes.insert(0, KeyValue::new(SERVICE_NAME, name));
    // Parents are found within one process, so its instances differ in an attribute.
    if attributes.iter().all(|pair| pair.key != INSTANCE_ID) {
        attributes.push(KeyValue::new(INSTANCE_ID, instance_id()));
    }
    let resource = Resource {
        attributes,
        ..Resource::default()
    };
    (Arc::new(resource), service)
}

/// Returns an id of this process: random, and the same for all filters.
fn instance_id() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    let read = || match std::fs::read_to_string("/proc/sys/kernel/random/uuid") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => std::process::id().to_string(),
    };
    ID.get_or_init(read).clone()
}

/// Returns the formats to write: `propagation`, else `OTEL_PROPAGATORS`, else W3C.
fn write_formats(reader: &mut ConfigReader<'_>) -> Vec<Format> {
    let text = reader.text("propagation");
    let Some(text) = text.or_else(|| reader.variable("OTEL_PROPAGATORS")) else {
        return vec![Format::W3c];
    };
    let list = FormatList::parse(&text);
    let known = FormatList::names(Format::contexts());
    for word in list.unknown {
        reader.error(
            "propagation",
            &format!("unknown format {word:?}; use {known} or none"),
        );
    }
    // Baggage belongs to the application: it is neither read nor written.
    let mut formats = list.formats;
    formats.retain(|format| format.carries_context());
    formats
}

fn default_topic(reader: &mut ConfigReader<'_>, naming: SpanNaming) -> TopicSettings {
    let default = TopicSettings::of(naming);
    TopicSettings {
        inject: reader.word("inject", &INJECT_VALUES, default.inject),
        relation: reader.word("relation", &RELATION_VALUES, default.relation),
        deliver: reader.word("deliver", &DELIVER_VALUES, default.deliver),
        settle: reader.boolean("settle", default.settle),
        ..default
    }
}

fn topics(
    reader: &mut ConfigReader<'_>,
    default: &TopicSettings,
) -> Vec<(TopicPattern, TopicSettings)> {
    let entries: Vec<TopicEntry> = reader.list("topics", TOPICS_REMEDY);
    let mut topics = Vec::new();
    for entry in entries {
        match topic(&entry, default) {
            Ok(settings) => topics.push((TopicPattern::new(&entry.topic), settings)),
            Err(error) => reader.error("topics", &format!("{}: {error}", entry.topic)),
        }
    }
    topics
}

fn topic(entry: &TopicEntry, default: &TopicSettings) -> Result<TopicSettings, String> {
    let relation = entry.relation.as_deref();
    let deliver = entry.deliver.as_deref();
    // Numbers of a Struct are floating-point.
    let max_message_bytes = entry.max_message_bytes.map(|bytes| {
        format!("{bytes}")
            .parse()
            .map_err(|_| format!("max_message_bytes {bytes} is not a number of bytes"))
    });
    // A switch in JSON is not a text.
    let inject = entry.inject.as_ref();
    let inject = inject.map(|value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    });
    Ok(TopicSettings {
        inject: inject.map_or(Ok(default.inject), |text| parse_word(&text, &INJECT_VALUES))?,
        relation: relation.map_or(Ok(default.relation), |text| {
            parse_word(text, &RELATION_VALUES)
        })?,
        deliver: deliver.map_or(Ok(default.deliver), |text| {
            parse_word(text, &DELIVER_VALUES)
        })?,
        settle: entry.settle.unwrap_or(default.settle),
        max_message_bytes: max_message_bytes.transpose()?,
    })
}

fn correlation_key(entry: CorrelationKeyEntry) -> Result<CorrelationKey, String> {
    let CorrelationKeyEntry {
        name,
        header,
        record_key,
        body,
    } = entry;
    if let Some(pointer) = body.as_deref().filter(|pointer| !pointer.starts_with('/')) {
        return Err(format!(
            "{name}: {pointer:?} is not a JSON pointer; write it as /order/id"
        ));
    }
    let locations = header.map(TokenLocation::Header).into_iter();
    let locations: Vec<TokenLocation> = locations
        .chain(record_key.then_some(TokenLocation::RecordKey))
        .chain(body.map(TokenLocation::Body))
        .collect();
    // A key that is found nowhere would silently correlate nothing.
    if locations.is_empty() {
        return Err(format!(
            "{name}: has no source for its value; {KEYS_REMEDY}"
        ));
    }
    Ok(CorrelationKey { name, locations })
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
