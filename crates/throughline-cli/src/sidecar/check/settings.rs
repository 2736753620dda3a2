//! How connections are traced: the part that also holds when the file is read again.

use std::sync::Arc;

use serde::Deserialize;
use throughline_intercept::kafka::{
    DeliveryMode, ServiceNaming, SessionLimits, Settings, SpanNaming, SpanRelation, TopicPattern,
    TopicSettings,
};
use throughline_model::context::{Format, FormatList};
use throughline_model::environment::{EnvironmentReader, ValueSecrecy};
use throughline_model::{KeyValue, Resource};

use super::Check;
use crate::sidecar::file::Told;

/// An exception for some topics, as the user writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    topic: String,
    inject: Option<bool>,
    relation: Option<String>,
    deliver: Option<String>,
    settle: Option<bool>,
}

/// How connections of both kinds are traced.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) kafka: Arc<Settings>,
    pub(crate) http: Arc<throughline_intercept::http::Settings>,
}

/// The settings alone, for a reload.
///
/// # Errors
/// All mistakes in them.
pub(crate) fn settings(
    told: &Told,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Traced, Vec<String>> {
    let mut check = Check {
        told,
        environment,
        mistakes: Vec::new(),
    };
    let kafka = check.settings();
    let http = check.http_settings(&kafka);
    if check.mistakes.is_empty() {
        Ok(Traced { kafka, http })
    } else {
        Err(check.mistakes)
    }
}

// === impl Check ===

impl Check<'_> {
    pub(super) fn settings(&mut self) -> Arc<Settings> {
        let options = &self.told.options;
        let (resource, service) = self.resource();
        let naming = self.word("naming", &options.naming, &NAMINGS, SpanNaming::default());
        let write = self.formats();
        let others = Format::contexts().filter(|format| !write.contains(format));
        let read = write.iter().copied().chain(others).collect();
        let default = self.default_topic(naming);
        let limits = SessionLimits {
            max_frame_bytes: self.size("max_frame", &options.max_frame),
            ..SessionLimits::default()
        };
        Arc::new(Settings {
            resource,
            service,
            naming,
            read,
            write,
            sample_ratio: self.ratio("sample", &options.sample),
            inject: self.boolean("inject", &options.inject),
            inject_unsampled: self.boolean("inject_unsampled", &options.inject_unsampled),
            topics: self.topics(&default),
            default,
            message_key: self.boolean("message_key", &options.message_key),
            limits,
            ..Settings::default()
        })
    }

    /// Who the spans are of: the service that was named, else each client by itself.
    fn resource(&mut self) -> (Arc<Resource>, ServiceNaming) {
        let mut attributes = self.resource_attributes();
        let named = attributes
            .iter()
            .position(|pair| pair.key == SERVICE_NAME)
            .map(|place| attributes.remove(place));
        let named = named.and_then(|pair| pair.value.as_str().map(str::to_owned));
        let given = self
            .told
            .options
            .service
            .clone()
            .map(|name| name.trim().to_owned());
        if given.as_deref() == Some("") {
            self.mistake("service", "is empty; give it a name, or leave it out");
        }
        let name = given
            .or_else(|| self.variable("OTEL_SERVICE_NAME"))
            .or(named);
        let service = if name.is_some() {
            ServiceNaming::Fixed
        } else {
            ServiceNaming::ByClientId
        };
        attributes.insert(
            0,
            KeyValue::new(SERVICE_NAME, name.unwrap_or_else(|| NAMELESS.to_owned())),
        );
        (Arc::new(Resource { attributes }), service)
    }

    /// Reads `OTEL_RESOURCE_ATTRIBUTES`: `key=value,key=value`, percent-encoded.
    fn resource_attributes(&mut self) -> Vec<KeyValue> {
        let mut reader = EnvironmentReader::new(self.environment);
        let pairs = reader.pairs(RESOURCE_ATTRIBUTES, ValueSecrecy::Public);
        let errors = reader.into_errors();
        self.mistakes.extend(errors.iter().map(ToString::to_string));
        let pairs = pairs.into_iter();
        pairs
            .map(|(key, value)| KeyValue::new(key, value))
            .collect()
    }

    fn formats(&mut self) -> Vec<Format> {
        let variable = || self.variable(PROPAGATORS);
        let (name, text) = match &self.told.options.propagation {
            Some(text) => (self.told.name("propagation"), text.clone()),
            None => match variable() {
                Some(text) => (PROPAGATORS.to_owned(), text),
                None => return vec![Format::W3c],
            },
        };
        let list = FormatList::parse(&text);
        let known = FormatList::names(Format::contexts());
        for word in list.unknown {
            self.mistakes.push(format!(
                "{name}: unknown format {word:?}; use {known} or none"
            ));
        }
        // Baggage belongs to the application: the sidecar neither reads nor writes it.
        let mut formats = list.formats;
        formats.retain(|format| format.carries_context());
        formats
    }

    fn default_topic(&mut self, naming: SpanNaming) -> TopicSettings {
        let options = &self.told.options;
        let usual = TopicSettings::of(naming);
        TopicSettings {
            relation: self.word("relation", &options.relation, &RELATIONS, usual.relation),
            deliver: self.word("deliver", &options.deliver, &DELIVERS, usual.deliver),
            settle: options
                .settle
                .as_deref()
                .map_or(usual.settle, |text| self.boolean("settle", text)),
            ..usual
        }
    }

    fn topics(&mut self, default: &TopicSettings) -> Vec<(TopicPattern, TopicSettings)> {
        let topics: Vec<Topic> = match serde_saphyr::from_str(&self.told.options.topics) {
            Ok(topics) => topics,
            Err(error) => {
                let line = error
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                self.mistake(
                    "topics",
                    &format!("cannot be understood: {line}; write them as [{{topic: audit-*, inject: false}}]"),
                );
                return Vec::new();
            }
        };
        let mut exceptions = Vec::new();
        for Topic {
            topic,
            inject,
            relation,
            deliver,
            settle,
        } in topics
        {
            let relation = relation.map_or(default.relation, |text| {
                self.word("topics", &text, &RELATIONS, default.relation)
            });
            let deliver = deliver.map_or(default.deliver, |text| {
                self.word("topics", &text, &DELIVERS, default.deliver)
            });
            let (inject, settle) = (
                inject.unwrap_or(default.inject),
                settle.unwrap_or(default.settle),
            );
            exceptions.push((
                TopicPattern::new(&topic),
                TopicSettings {
                    inject,
                    relation,
                    deliver,
                    settle,
                },
            ));
        }
        exceptions
    }

    fn ratio(&mut self, key: &str, text: &str) -> f64 {
        match text.trim().parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                self.mistake(
                    key,
                    &format!(
                        "{text:?} is no number from 0 to 1; 0.1 records a tenth of the traces"
                    ),
                );
                0.0
            }
        }
    }
}

const NAMINGS: [(&str, SpanNaming); 2] = [
    ("otel", SpanNaming::OpenTelemetry),
    ("opentracing", SpanNaming::OpenTracing),
];
const RELATIONS: [(&str, SpanRelation); 2] = [
    ("parent", SpanRelation::ParentAndLink),
    ("links", SpanRelation::LinksOnly),
];
const DELIVERS: [(&str, DeliveryMode); 2] = [
    ("observe", DeliveryMode::Observe),
    ("patch", DeliveryMode::Patch),
];

const SERVICE_NAME: &str = "service.name";
/// A client that has no id, where nobody said whose it is.
const NAMELESS: &str = "kafka-client";
const PROPAGATORS: &str = "OTEL_PROPAGATORS";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
