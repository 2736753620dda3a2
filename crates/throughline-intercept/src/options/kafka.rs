//! Tracing of Kafka connections: service, formats, sampling, injection, and overrides by topic.

use std::sync::Arc;

use serde::Deserialize;
use throughline_model::context::{Format, FormatList};
use throughline_model::convention::SERVICE_NAME;
use throughline_model::environment::EnvironmentReader;
use throughline_model::{KeyValue, Resource};

use super::source::OptionReader;
use super::value::parse_word;
use crate::kafka::{
    DeliveryMode, InjectionMode, ServiceNaming, SessionLimits, Settings, SpanNaming, SpanRelation,
    TopicPattern, TopicSettings,
};

const NAMING_VALUES: [(&str, SpanNaming); 2] = [
    ("otel", SpanNaming::OpenTelemetry),
    ("opentracing", SpanNaming::OpenTracing),
];
const INJECT_VALUES: [(&str, InjectionMode); 5] = [
    ("always", InjectionMode::Always),
    ("uncompressed", InjectionMode::Uncompressed),
    ("never", InjectionMode::Never),
    // Before the modes it was a switch.
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

/// Service name of a client without a client.id, where no service name is configured.
const FALLBACK_SERVICE_NAME: &str = "kafka-client";
const PROPAGATORS: &str = "OTEL_PROPAGATORS";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const INSTANCE_ID: &str = "service.instance.id";

const TOPICS: &str = "topics";
const TOPICS_REMEDY: &str = "write them as [{topic: audit-*, inject: false}]";

/// An override for some topics as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTopicOverride {
    topic: String,
    inject: Option<RawInjection>,
    relation: Option<String>,
    deliver: Option<String>,
    settle: Option<bool>,
    max_message_bytes: Option<RawSize>,
}

/// The value of `inject`, where `true` and `false` are not texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawInjection {
    Switch(bool),
    Word(String),
}

/// A number of bytes. Numbers of a protobuf `Struct`, in which Envoy has its configuration, are
/// floating-point.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum RawSize {
    Integer(usize),
    Float(f64),
}

/// Reads the settings of Kafka connections. `instance_id` is an id of this process, for resources
/// without one.
pub fn kafka_settings(
    source: &mut impl OptionReader,
    max_frame_bytes: usize,
    instance_id: &str,
) -> Settings {
    let (resource, service) = resource(source, instance_id);
    let naming = source.word("naming", &NAMING_VALUES, SpanNaming::default());
    let write = write_formats(source);
    let others = Format::contexts().filter(|format| !write.contains(format));
    let read = write.iter().copied().chain(others).collect();
    let default = default_topic(source, naming);
    Settings {
        resource,
        service,
        naming,
        read,
        write,
        match_propagation: source.boolean("match_propagation", true),
        sample_ratio: source.ratio("sample", 1.0),
        inject: default.inject,
        inject_unsampled: source.boolean("inject_unsampled", true),
        topics: topic_overrides(source, &default),
        default,
        message_key: source.boolean("message_key", false),
        limits: SessionLimits {
            max_frame_bytes,
            ..SessionLimits::default()
        },
        ..Settings::default()
    }
}

/// Keeps the contradictions between limits. `max_held_bytes` is the memory for frames of all
/// connections; a size of 0 is a mistake that has been kept already.
pub fn check_limits(source: &mut impl OptionReader, settings: &Settings, max_held_bytes: usize) {
    let max_frame_bytes = settings.limits.max_frame_bytes;
    if max_held_bytes != 0 && max_frame_bytes > max_held_bytes {
        let memory = source.name("memory");
        let mistake = format!(
            "is larger than {memory} ({max_held_bytes} bytes), which frames of this size exceed; \
             lower it or raise {memory}"
        );
        source.error("max_frame", &mistake);
    }
    let batches = settings.topics.iter();
    for max_message_bytes in batches.filter_map(|(_, topic)| topic.max_message_bytes) {
        if max_message_bytes == 0 {
            source.error(TOPICS, "max_message_bytes must not be 0; leave it out");
        } else if max_frame_bytes != 0 && max_message_bytes > max_frame_bytes {
            let max_frame = source.name("max_frame");
            let mistake = format!(
                "max_message_bytes {max_message_bytes} is larger than {max_frame} \
                 ({max_frame_bytes} bytes), and longer frames pass unread; raise {max_frame}"
            );
            source.error(TOPICS, &mistake);
        }
    }
}

/// Returns the resource of the spans: the configured service, else one for each client.
fn resource(source: &mut impl OptionReader, instance_id: &str) -> (Arc<Resource>, ServiceNaming) {
    let mut attributes = resource_attributes(source);
    let position = attributes.iter().position(|pair| pair.key == SERVICE_NAME);
    let attribute = position.map(|index| attributes.remove(index));
    let attribute = attribute.and_then(|pair| pair.value.as_str().map(str::to_owned));
    let option = source.text("service").map(|name| name.trim().to_owned());
    // An empty name would merge all such services into one.
    if option.as_deref() == Some("") {
        source.error("service", "is empty; give it a name, or leave it out");
    }
    // OTEL_SERVICE_NAME takes precedence over the service.name of OTEL_RESOURCE_ATTRIBUTES
    // (OpenTelemetry specification, "Resource SDK").
    let name = option
        .or_else(|| source.variable("OTEL_SERVICE_NAME"))
        .or(attribute);
    // One proxy may serve many Kafka clients: then each is a service of its own.
    let is_stripped = source.boolean("strip_client_id", true);
    let service = match (&name, is_stripped) {
        (Some(_), _) => ServiceNaming::Fixed,
        (None, true) => ServiceNaming::ByApplication,
        (None, false) => ServiceNaming::ByClientId,
    };
    let name = name.unwrap_or_else(|| FALLBACK_SERVICE_NAME.to_owned());
    attributes.insert(0, KeyValue::new(SERVICE_NAME, name));
    // Distinguishes the instances of a service: parents are found within one process.
    if attributes.iter().all(|pair| pair.key != INSTANCE_ID) {
        attributes.push(KeyValue::new(INSTANCE_ID, instance_id.to_owned()));
    }
    let resource = Resource {
        attributes,
        ..Resource::default()
    };
    (Arc::new(resource), service)
}

/// Reads `OTEL_RESOURCE_ATTRIBUTES`: `key=value,key=value`, percent-encoded. A value that cannot
/// be decoded is used as written, as by earlier versions.
fn resource_attributes(source: &mut impl OptionReader) -> Vec<KeyValue> {
    let mut reader = EnvironmentReader::new(source.environment());
    let (pairs, _) = reader.pairs_or_raw(RESOURCE_ATTRIBUTES);
    for error in reader.into_errors() {
        source.push_error(error.to_string());
    }
    let pairs = pairs.into_iter();
    pairs
        .map(|(key, value)| KeyValue::new(key, value))
        .collect()
}

/// Returns the formats to write: the option, else `OTEL_PROPAGATORS`, else W3C.
fn write_formats(source: &mut impl OptionReader) -> Vec<Format> {
    let (name, text) = match source.text("propagation") {
        Some(text) => (source.name("propagation"), text),
        None => match source.variable(PROPAGATORS) {
            Some(text) => (PROPAGATORS.to_owned(), text),
            None => return vec![Format::W3c],
        },
    };
    // The names are those of OTEL_PROPAGATORS, for the option too.
    let list = FormatList::parse(&text);
    let known = FormatList::names(Format::contexts());
    for word in list.unknown {
        source.push_error(format!(
            "{name}: unknown format {word:?}; use {known} or none"
        ));
    }
    // Baggage belongs to the application: it is neither read nor written.
    let mut formats = list.formats;
    formats.retain(|format| format.carries_context());
    formats
}

fn default_topic(source: &mut impl OptionReader, naming: SpanNaming) -> TopicSettings {
    // opentracing-kafka-client has no spans for commits, so its naming turns them off.
    let default = TopicSettings::of(naming);
    TopicSettings {
        inject: source.word("inject", &INJECT_VALUES, default.inject),
        relation: source.word("relation", &RELATION_VALUES, default.relation),
        deliver: source.word("deliver", &DELIVER_VALUES, default.deliver),
        settle: source.boolean("settle", default.settle),
        ..default
    }
}

fn topic_overrides(
    source: &mut impl OptionReader,
    default: &TopicSettings,
) -> Vec<(TopicPattern, TopicSettings)> {
    let overrides: Vec<RawTopicOverride> = source.entries(TOPICS).unwrap_or_else(|error| {
        let mistake = format!("cannot be parsed: {error}; {TOPICS_REMEDY}");
        source.error(TOPICS, &mistake);
        Vec::new()
    });
    let mut topics = Vec::new();
    for raw in overrides {
        match topic_settings(&raw, default) {
            Ok(settings) => topics.push((TopicPattern::new(&raw.topic), settings)),
            Err(mistake) => source.error(TOPICS, &format!("{}: {mistake}", raw.topic)),
        }
    }
    topics
}

fn topic_settings(
    raw: &RawTopicOverride,
    default: &TopicSettings,
) -> Result<TopicSettings, String> {
    let inject = raw.inject.as_ref().map(RawInjection::as_word);
    let (relation, deliver) = (raw.relation.as_deref(), raw.deliver.as_deref());
    Ok(TopicSettings {
        inject: word_or(inject, &INJECT_VALUES, default.inject)?,
        relation: word_or(relation, &RELATION_VALUES, default.relation)?,
        deliver: word_or(deliver, &DELIVER_VALUES, default.deliver)?,
        settle: raw.settle.unwrap_or(default.settle),
        max_message_bytes: raw.max_message_bytes.map(RawSize::bytes).transpose()?,
    })
}

fn word_or<T: Copy>(text: Option<&str>, words: &[(&str, T)], default: T) -> Result<T, String> {
    text.map_or(Ok(default), |text| parse_word(text, words))
}

// === impl RawInjection ===

impl RawInjection {
    fn as_word(&self) -> &str {
        match self {
            Self::Switch(true) => "true",
            Self::Switch(false) => "false",
            Self::Word(word) => word,
        }
    }
}

// === impl RawSize ===

impl RawSize {
    fn bytes(self) -> Result<usize, String> {
        match self {
            Self::Integer(bytes) => Ok(bytes),
            // Written without a fraction where it has none.
            Self::Float(bytes) => format!("{bytes}")
                .parse()
                .map_err(|_| format!("max_message_bytes {bytes} is not a number of bytes")),
        }
    }
}
