//! Tracing of Kafka connections: service name, formats, sampling and overrides by topic.

use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use throughline_intercept::kafka::{
    DeliveryMode, InjectionMode, ServiceNaming, SessionLimits, Settings, SpanNaming, SpanRelation,
    TopicPattern, TopicSettings,
};
use throughline_model::context::{Format, FormatList};
use throughline_model::convention::SERVICE_NAME;
use throughline_model::environment::EnvironmentReader;
use throughline_model::{KeyValue, Resource};

use super::parser::ConfigParser;
use crate::byte_size;
use crate::sidecar::raw_config::RESOURCE_ATTRIBUTES;

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
const INSTANCE_ID: &str = "service.instance.id";

/// An override for some topics in YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTopicOverride {
    topic: String,
    inject: Option<RawInjection>,
    relation: Option<String>,
    deliver: Option<String>,
    settle: Option<bool>,
    max_message_bytes: Option<usize>,
}

/// The value of `inject` in YAML, where `true` and `false` are not texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawInjection {
    Switch(bool),
    Word(String),
}

/// Returns an id for this process: random, as the semantic conventions recommend, and the same
/// whenever the configuration is loaded again.
fn instance_id() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    let read = || match std::fs::read_to_string("/proc/sys/kernel/random/uuid") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => std::process::id().to_string(),
    };
    ID.get_or_init(read).clone()
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

// === impl ConfigParser ===

impl ConfigParser<'_> {
    pub(super) fn kafka_settings(&mut self) -> Arc<Settings> {
        let options = &self.raw.options;
        let (resource, service) = self.resource();
        let naming = self.word(
            "naming",
            &options.naming,
            &NAMING_VALUES,
            SpanNaming::default(),
        );
        let write = self.write_formats();
        let others = Format::contexts().filter(|format| !write.contains(format));
        let read = write.iter().copied().chain(others).collect();
        // opentracing-kafka-client has no spans for commits, so its naming turns them off.
        let default = self.default_topic(naming);
        let limits = SessionLimits {
            max_frame_bytes: self.max_frame(),
            ..SessionLimits::default()
        };
        Arc::new(Settings {
            resource,
            service,
            naming,
            read,
            write,
            match_propagation: self.boolean("match_propagation", &options.match_propagation),
            sample_ratio: self.ratio("sample", &options.sample),
            inject: default.inject,
            inject_unsampled: self.boolean("inject_unsampled", &options.injection.inject_unsampled),
            topics: self.topic_overrides(&default),
            default,
            message_key: self.boolean("message_key", &options.message_key),
            limits,
            ..Settings::default()
        })
    }

    /// Returns the memory for frames of all connections, in bytes.
    pub(super) fn memory(&mut self) -> usize {
        self.byte_size("memory", &self.raw.options.memory)
    }

    /// Returns the maximum size of a frame: by default at most the whole memory for frames.
    fn max_frame(&mut self) -> usize {
        let max_frame = self.byte_size("max_frame", &self.raw.options.max_frame);
        match byte_size::parse(&self.raw.options.memory) {
            Some(memory) if !self.raw.is_set("max_frame") => max_frame.min(memory),
            _ => max_frame,
        }
    }

    /// Returns the resource of the spans: the configured service, else one for each client.
    fn resource(&mut self) -> (Arc<Resource>, ServiceNaming) {
        let mut attributes = self.resource_attributes();
        let attribute = attributes
            .iter()
            .position(|pair| pair.key == SERVICE_NAME)
            .map(|index| attributes.remove(index));
        let attribute = attribute.and_then(|pair| pair.value.as_str().map(str::to_owned));
        let option = self.raw.options.service.as_deref();
        let option = option.map(|name| name.trim().to_owned());
        // An empty name would merge all such services into one.
        if option.as_deref() == Some("") {
            self.error("service", "is empty; give it a name, or leave it out");
        }
        // OTEL_SERVICE_NAME takes precedence over the service.name of OTEL_RESOURCE_ATTRIBUTES
        // (OpenTelemetry specification, "Resource SDK").
        let name = option
            .or_else(|| self.variable("OTEL_SERVICE_NAME"))
            .or(attribute);
        // One sidecar may serve many Kafka clients: then each is a service of its own.
        let is_stripped = self.boolean("strip_client_id", &self.raw.options.strip_client_id);
        let service = match (&name, is_stripped) {
            (Some(_), _) => ServiceNaming::Fixed,
            (None, true) => ServiceNaming::ByApplication,
            (None, false) => ServiceNaming::ByClientId,
        };
        let name = name.unwrap_or_else(|| FALLBACK_SERVICE_NAME.to_owned());
        attributes.insert(0, KeyValue::new(SERVICE_NAME, name));
        // Distinguishes the instances of a service: parents are found within one process.
        if attributes.iter().all(|pair| pair.key != INSTANCE_ID) {
            attributes.push(KeyValue::new(INSTANCE_ID, instance_id()));
        }
        (
            Arc::new(Resource {
                attributes,
                ..Resource::default()
            }),
            service,
        )
    }

    /// Reads `OTEL_RESOURCE_ATTRIBUTES`: `key=value,key=value`, percent-encoded.
    fn resource_attributes(&mut self) -> Vec<KeyValue> {
        let mut reader = EnvironmentReader::new(self.environment);
        // Loading has warned of invalid escapes: earlier versions decoded nothing.
        let (pairs, _) = reader.pairs_or_raw(RESOURCE_ATTRIBUTES);
        let errors = reader.into_errors();
        self.errors.extend(errors.iter().map(ToString::to_string));
        let pairs = pairs.into_iter();
        pairs
            .map(|(key, value)| KeyValue::new(key, value))
            .collect()
    }

    /// Returns the formats to write: `--propagation`, else `OTEL_PROPAGATORS`, else W3C.
    fn write_formats(&mut self) -> Vec<Format> {
        let (name, text) = match &self.raw.options.propagation {
            Some(text) => (self.raw.name("propagation"), text.clone()),
            None => match self.variable(PROPAGATORS) {
                Some(text) => (PROPAGATORS.to_owned(), text),
                None => return vec![Format::W3c],
            },
        };
        // The names are those of OTEL_PROPAGATORS, for the option too.
        let list = FormatList::parse(&text);
        let known = FormatList::names(Format::contexts());
        for word in list.unknown {
            self.errors.push(format!(
                "{name}: unknown format {word:?}; use {known} or none"
            ));
        }
        // Baggage belongs to the application: the sidecar neither reads nor writes it.
        let mut formats = list.formats;
        formats.retain(|format| format.carries_context());
        formats
    }

    fn default_topic(&mut self, naming: SpanNaming) -> TopicSettings {
        let options = &self.raw.options;
        let default = TopicSettings::of(naming);
        TopicSettings {
            inject: self.word(
                "inject",
                &options.injection.inject,
                &INJECT_VALUES,
                default.inject,
            ),
            relation: self.word(
                "relation",
                &options.relation,
                &RELATION_VALUES,
                default.relation,
            ),
            deliver: self.word(
                "deliver",
                &options.deliver,
                &DELIVER_VALUES,
                default.deliver,
            ),
            settle: options
                .settle
                .as_deref()
                .map_or(default.settle, |text| self.boolean("settle", text)),
            ..default
        }
    }

    fn topic_overrides(&mut self, default: &TopicSettings) -> Vec<(TopicPattern, TopicSettings)> {
        let text = &self.raw.options.topics;
        let overrides: Vec<RawTopicOverride> = match serde_saphyr::from_str(text) {
            Ok(overrides) => overrides,
            Err(error) => {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                let remedy = "write them as [{topic: audit-*, inject: false}]";
                self.error("topics", &format!("cannot be parsed: {line}; {remedy}"));
                return Vec::new();
            }
        };
        overrides
            .into_iter()
            .map(|raw| self.topic_override(raw, default))
            .collect()
    }

    fn topic_override(
        &mut self,
        raw: RawTopicOverride,
        default: &TopicSettings,
    ) -> (TopicPattern, TopicSettings) {
        let inject = raw.inject.map_or(default.inject, |raw| {
            self.word("topics", raw.as_word(), &INJECT_VALUES, default.inject)
        });
        let relation = raw.relation.map_or(default.relation, |text| {
            self.word("topics", &text, &RELATION_VALUES, default.relation)
        });
        let deliver = raw.deliver.map_or(default.deliver, |text| {
            self.word("topics", &text, &DELIVER_VALUES, default.deliver)
        });
        let settings = TopicSettings {
            inject,
            relation,
            deliver,
            settle: raw.settle.unwrap_or(default.settle),
            max_message_bytes: raw.max_message_bytes,
        };
        (TopicPattern::new(&raw.topic), settings)
    }
}
