//! The route of spans: into the store, from a topic of Kafka into the store, or on to a topic.

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "kafka")]
use anyhow::Context as _;
use anyhow::Result;
use throughline_collector::{DecisionLog, RecordSource, SpanDestination};
#[cfg(feature = "kafka")]
use throughline_topic::{
    DecisionTopic, RESERVED_PROPERTIES, SpanTopicSettings, TopicReader, TopicWriter,
};

use crate::args::up::UpArgs;
use crate::store::StoreChoice;

/// The topic to which OpenTelemetry's collector writes spans by default.
pub(crate) const DEFAULT_TOPIC: &str = "otlp_spans";

pub(crate) const DEFAULT_GROUP: &str = "throughline";

/// Maximum length of the name of a topic (Kafka's `Topic.java`).
const MAX_TOPIC_LENGTH: usize = 249;

/// Maximum size of `--kafka-config`.
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// The route of spans.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SpanRoute {
    /// From the listeners into the store.
    Store,
    /// From the listeners and a topic into the store, as a member of a group.
    FromTopic(TopicAddress, TopicMembership),
    /// From the listeners to a topic.
    ToTopic(TopicAddress),
}

/// A topic at its brokers, and properties of the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicAddress {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) properties: Vec<(String, String)>,
}

/// A group, and the topic by which its members share decisions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TopicMembership {
    group: String,
    decisions: Option<String>,
}

/// The ends of an open route.
pub(super) struct OpenRoute {
    pub(super) destination: SpanDestination,
    pub(super) records: Option<Box<dyn RecordSource>>,
    pub(super) decisions: Option<Arc<dyn DecisionLog>>,
}

// === impl SpanRoute ===

impl SpanRoute {
    /// Parses the arguments; adds every error, with its remedy, to `errors`.
    pub(super) fn parse(args: &UpArgs, errors: &mut Vec<String>) -> Option<Self> {
        let before = errors.len();
        let given = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        let kafka = &args.kafka;
        let (from, to) = (given(&kafka.from_kafka), given(&kafka.to_kafka));
        let (topic, group) = (given(&kafka.topic), given(&kafka.group));
        let config = kafka.kafka_config.as_deref();
        let config = config.filter(|path| !path.as_os_str().is_empty());
        check_combination(args, (&from, &to), (&topic, &group), errors);
        let topic = topic.unwrap_or_else(|| DEFAULT_TOPIC.to_owned());
        check_topic("--topic", &topic, errors);
        let decisions = given(&kafka.decisions_topic);
        if let Some(decisions) = &decisions {
            check_decisions(decisions, &topic, from.is_some(), errors);
        }
        let properties = config.map(|path| read_properties(path, errors));
        let mut address = |option: &str, brokers: &str| {
            check_brokers(option, brokers, errors);
            TopicAddress {
                brokers: brokers.to_owned(),
                topic: topic.clone(),
                properties: properties.clone().unwrap_or_default(),
            }
        };
        let route = if let Some(brokers) = &from {
            let group = group.unwrap_or_else(|| DEFAULT_GROUP.to_owned());
            let membership = TopicMembership { group, decisions };
            Self::FromTopic(address("--from-kafka", brokers), membership)
        } else if let Some(brokers) = &to {
            Self::ToTopic(address("--to-kafka", brokers))
        } else {
            Self::Store
        };
        (errors.len() == before).then_some(route)
    }

    /// Opens the store or finds the topic, or both.
    pub(super) fn open(&self, choice: &StoreChoice) -> Result<OpenRoute> {
        Ok(match self {
            Self::Store => OpenRoute {
                destination: SpanDestination::Store(choice.open()?),
                records: None,
                decisions: None,
            },
            #[cfg(feature = "kafka")]
            Self::FromTopic(address, membership) => {
                let reader = TopicReader::open(&address.settings(), &membership.group);
                let reader = reader.context("--from-kafka")?;
                let decisions = membership.decisions.as_ref();
                let decisions = decisions.map(|topic| {
                    let settings = SpanTopicSettings {
                        topic: topic.clone(),
                        ..address.settings()
                    };
                    DecisionTopic::open(&settings).map(|topic| Arc::new(topic) as _)
                });
                OpenRoute {
                    destination: SpanDestination::Store(choice.open()?),
                    records: Some(Box::new(reader)),
                    decisions: decisions.transpose().context("--decisions-topic")?,
                }
            }
            #[cfg(feature = "kafka")]
            Self::ToTopic(address) => {
                let writer = TopicWriter::open(&address.settings()).context("--to-kafka")?;
                OpenRoute {
                    destination: SpanDestination::Forwarder(Arc::new(writer)),
                    records: None,
                    decisions: None,
                }
            }
            // Refused with the other arguments.
            #[cfg(not(feature = "kafka"))]
            Self::FromTopic(..) | Self::ToTopic(_) => anyhow::bail!(NO_CLIENT),
        })
    }

    /// Returns a sentence about where spans go, and where else they come from.
    pub(super) fn describe(&self, choice: &StoreChoice) -> String {
        match self {
            Self::Store => choice.describe(),
            Self::FromTopic(TopicAddress { brokers, topic, .. }, membership) => format!(
                "Spans of the topic {topic} at {brokers} are read as a member of the group {}. {}",
                membership.group,
                choice.describe()
            ),
            Self::ToTopic(TopicAddress { brokers, topic, .. }) => format!(
                "Spans are forwarded to the topic {topic} at {brokers}; none are kept here."
            ),
        }
    }

    /// Returns whether spans pass through, so that there is nothing to query.
    pub(super) const fn is_forwarding(&self) -> bool {
        matches!(self, Self::ToTopic(_))
    }
}

// === impl TopicAddress ===

#[cfg(feature = "kafka")]
impl TopicAddress {
    pub(crate) fn settings(&self) -> SpanTopicSettings {
        SpanTopicSettings {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            properties: self.properties.clone(),
        }
    }
}

#[cfg(not(feature = "kafka"))]
const RESERVED_PROPERTIES: [&str; 0] = [];

#[cfg(not(feature = "kafka"))]
pub(crate) const NO_CLIENT: &str = "this program was built without the feature kafka, so it has no \
                         --from-kafka and no --to-kafka";

type TextOption = Option<String>;

fn check_combination(
    args: &UpArgs,
    (from, to): (&TextOption, &TextOption),
    (topic, group): (&TextOption, &TextOption),
    errors: &mut Vec<String>,
) {
    #[cfg(not(feature = "kafka"))]
    if from.is_some() || to.is_some() {
        errors.push(NO_CLIENT.to_owned());
    }
    if from.is_some() && to.is_some() {
        errors.push(
            "--from-kafka stores the spans of a topic and --to-kafka stores none; use one of them"
                .to_owned(),
        );
    }
    if args.store.query_only && (from.is_some() || to.is_some()) {
        errors.push(
            "--query-only receives no spans, so --from-kafka and --to-kafka have no effect; leave \
             them out"
                .to_owned(),
        );
    }
    if from.is_none() && to.is_none() {
        let config = args.kafka.kafka_config.as_ref();
        for (option, is_given) in [
            ("--topic", topic.is_some()),
            ("--kafka-config", config.is_some()),
        ] {
            if is_given {
                errors.push(format!(
                    "{option} has no effect without --from-kafka or --to-kafka; add one of them, \
                     or leave it out"
                ));
            }
        }
    }
    if group.is_some() && from.is_none() {
        errors.push("--group has no effect without --from-kafka; leave it out".to_owned());
    }
    let data = args.store.data.as_ref();
    if to.is_some() && data.is_some_and(|data| !data.as_os_str().is_empty()) {
        errors.push("--to-kafka keeps no spans, so --data has no effect; leave it out".to_owned());
    }
}

fn check_decisions(decisions: &str, topic: &str, is_member: bool, errors: &mut Vec<String>) {
    check_topic("--decisions-topic", decisions, errors);
    if !is_member {
        errors
            .push("--decisions-topic has no effect without --from-kafka; leave it out".to_owned());
    } else if decisions == topic {
        errors.push(format!(
            "--decisions-topic {decisions} is the topic of spans as well; use another one"
        ));
    }
}

pub(crate) fn check_topic(option: &str, topic: &str, errors: &mut Vec<String>) {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if topic.len() > MAX_TOPIC_LENGTH || !topic.chars().all(is_allowed) {
        errors.push(format!(
            "{option} {topic:?} is not the name of a topic; use letters, digits, dots, underscores \
             and hyphens, {MAX_TOPIC_LENGTH} at most"
        ));
    }
}

pub(crate) fn check_brokers(option: &str, brokers: &str, errors: &mut Vec<String>) {
    let is_address = |address: &str| {
        let parts = address.trim().rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !brokers.split(',').all(is_address) {
        errors.push(format!(
            "{option} {brokers:?} is not a list of brokers; write it as kafka-1:9092,kafka-2:9092"
        ));
    }
}

/// Reads `NAME=VALUE` lines; empty lines and those that begin with `#` are left out.
pub(crate) fn read_properties(path: &Path, errors: &mut Vec<String>) -> Vec<(String, String)> {
    let name = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) if text.len() <= MAX_CONFIG_BYTES => text,
        Ok(_) => {
            errors.push(format!("--kafka-config {name} is larger than 1 MiB"));
            return Vec::new();
        }
        Err(error) => {
            errors.push(format!("--kafka-config {name} cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut properties = Vec::new();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line is not quoted: it may have a password.
        let Some((key, value)) = line.split_once('=') else {
            errors.push(format!(
                "--kafka-config {name}, line {number}: not a property; write it as NAME=VALUE"
            ));
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if RESERVED_PROPERTIES.contains(&key) {
            errors.push(format!(
                "--kafka-config {name}, line {number}: {key} is set by throughline; leave it out"
            ));
        }
        properties.push((key.to_owned(), value.to_owned()));
    }
    properties
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args::{CliArgs, CliCommand};

    fn parse(options: &[&str]) -> Result<SpanRoute, Vec<String>> {
        let arguments = ["throughline", "up"].iter().chain(options);
        let arguments: Vec<OsString> = arguments.map(OsString::from).collect();
        let Ok(CliCommand::Up(args)) = CliArgs::parse(&arguments) else {
            panic!("{options:?}");
        };
        let mut errors = Vec::new();
        let route = SpanRoute::parse(&args, &mut errors);
        route.ok_or(errors)
    }

    #[test]
    fn every_mistake_is_listed_with_its_remedy() {
        let options = [
            "--from-kafka",
            "kafka",
            "--to-kafka",
            "kafka:9092",
            "--topic",
            "sp ans",
        ];
        let errors = parse(&options).unwrap_err();
        let expected = [
            "use one of them",
            "not the name of a topic",
            "not a list of brokers",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn options_without_effect_are_refused() {
        for (options, expected) in [
            (&["--topic", "spans"][..], "--topic has no effect"),
            (
                &["--group", "a", "--to-kafka", "a:1"],
                "--group has no effect",
            ),
            (
                &["--data", "/d", "--to-kafka", "a:1"],
                "--data has no effect",
            ),
            (
                &["--decisions-topic", "d", "--to-kafka", "a:1"],
                "--decisions-topic has no effect",
            ),
            (
                &["--decisions-topic", "otlp_spans", "--from-kafka", "a:1"],
                "the topic of spans as well",
            ),
            (
                &["--query-only", "--from-kafka", "a:1"],
                "--query-only receives no spans",
            ),
        ] {
            let errors = parse(options).unwrap_err();
            assert!(errors.concat().contains(expected), "{errors:?}");
        }
    }

    #[test]
    fn properties_are_read_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "# SASL\n\nsasl.password = a=b\n").unwrap();
        let path = file.path().to_str().unwrap();
        let options = ["--from-kafka", "a:1,b:2", "--kafka-config", path];
        let Ok(SpanRoute::FromTopic(address, membership)) = parse(&options) else {
            panic!("not a member");
        };
        let expected = [("sasl.password".to_owned(), "a=b".to_owned())];
        assert_eq!(address.properties, expected);
        assert_eq!(
            (address.topic.as_str(), membership.group.as_str()),
            ("otlp_spans", "throughline")
        );
        std::fs::write(&file, "group.id=mine\nsecret\n").unwrap();
        let errors = parse(&options).unwrap_err();
        assert!(
            errors[0].contains("group.id is set by throughline"),
            "{errors:?}"
        );
        assert!(errors[1].contains("line 2: not a property"), "{errors:?}");
    }
}
