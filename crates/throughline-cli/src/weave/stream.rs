//! `throughline weave --from-kafka`: the spans of a topic are woven and sent on, to another topic
//! or to another back end; nothing is kept here.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "kafka")]
use anyhow::Context as _;
use anyhow::Result;
use throughline_collector::{
    DecisionLog, RecordSource, StreamWeavingProgress, StreamWeavingSettings, WeavingMode,
    WeavingSettings, WovenTraceSink, weave_records,
};
use throughline_model::{byte_size, duration};
#[cfg(feature = "kafka")]
use throughline_topic::{DecisionTopic, SpanTopicSettings, TopicReader, TraceTopic};

use super::progress_line::ProgressLine;
use super::report::print_stream;
use crate::args::weave::WeaveArgs;
use crate::daemon::{init_logging, log_filter, run_until_stopped, stop_signal};
use crate::error::CommandError;
use crate::forward::{ForwardTarget, TraceForwardExporter};
#[cfg(not(feature = "kafka"))]
use crate::up::kafka::NO_CLIENT;
use crate::up::kafka::{
    DEFAULT_GROUP, DEFAULT_TOPIC, TopicAddress, check_brokers, check_topic, read_properties,
};

/// Minimum of `--memory`.
const MIN_MEMORY_BYTES: usize = 16 << 20;

/// Maximum of `--wait`, in nanoseconds.
const MAX_WAIT: u64 = 600_000_000_000;

/// Only what went wrong: stderr has the progress.
const LOG_FILTER: &str = "warn";

/// The checked arguments.
#[derive(Debug)]
struct StreamOptions {
    from: TopicAddress,
    group: String,
    decisions: Option<String>,
    target: StreamTarget,
    wait: Duration,
    max_bytes: usize,
}

/// Where woven spans go.
#[derive(Debug)]
enum StreamTarget {
    Topic(TopicAddress),
    BackEnd(Box<ForwardTarget>),
}

/// The ends of a stream.
struct OpenStream {
    records: Box<dyn RecordSource>,
    sink: Arc<dyn WovenTraceSink>,
    /// The sink where it is a back end.
    exporter: Option<Arc<TraceForwardExporter>>,
    decisions: Option<Arc<dyn DecisionLog>>,
}

/// Weaves until SIGINT or SIGTERM.
pub(super) fn run(args: &WeaveArgs, min_confidence: f64) -> Result<(), CommandError> {
    let options = StreamOptions::parse(args).map_err(CommandError::Usage)?;
    let filter = log_filter("--log", LOG_FILTER);
    init_logging(filter.map_err(|error| CommandError::Usage(vec![error]))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    let woven = runtime.block_on(async {
        // First, so that a signal is not lost while Kafka is looked for.
        let stop = stop_signal()?;
        let opened = options.open()?;
        let settings = StreamWeavingSettings {
            weaving: WeavingSettings {
                mode: WeavingMode::All,
                min_confidence,
                wait: options.wait,
            },
            decisions: opened.decisions,
            max_bytes: options.max_bytes,
        };
        let mut line = ProgressLine::new();
        let mut show = |progress: StreamWeavingProgress| line.show(&describe(&progress));
        let woven = run_until_stopped(stop, async |stop| {
            let woven = weave_records(settings, opened.records, opened.sink, &mut show, stop).await;
            if let Some(exporter) = opened.exporter {
                exporter.shutdown().await;
            }
            woven
        });
        let woven = woven.await;
        line.clear();
        let woven = woven.context("the end took too long; what was not sent is read again")?;
        woven.map_err(anyhow::Error::from)
    })?;
    runtime.shutdown_background();
    print_stream(&woven);
    Ok(())
}

fn describe(progress: &StreamWeavingProgress) -> String {
    let StreamWeavingProgress {
        records,
        spans,
        woven,
        pending,
        sent,
        dropped,
        lag,
        poisoned: _,
    } = progress;
    format!(
        "{spans} spans of {records} records read, {woven} woven, {sent} sent, {pending} waiting, \
         {dropped} dropped; lag {lag} records"
    )
}

// === impl StreamOptions ===

impl StreamOptions {
    /// Parses the arguments.
    ///
    /// # Errors
    /// Every error, with its remedy.
    fn parse(args: &WeaveArgs) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let given = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        let kafka = &args.kafka;
        let from = given(&kafka.from_kafka).unwrap_or_default();
        let topic = given(&kafka.topic).unwrap_or_else(|| DEFAULT_TOPIC.to_owned());
        check_brokers("--from-kafka", &from, &mut errors);
        check_topic("--topic", &topic, &mut errors);
        if !args.files.is_empty() || args.output.is_some() {
            errors.push(
                "--from-kafka weaves no files; leave the files and --output out, or --from-kafka"
                    .to_owned(),
            );
        }
        let config = kafka.kafka_config.as_deref();
        let config = config.filter(|path| !path.as_os_str().is_empty());
        let properties = config.map(|path| read_properties(path, &mut errors));
        let properties = properties.unwrap_or_default();
        let from = TopicAddress {
            brokers: from,
            topic,
            properties,
        };
        let target = StreamTarget::parse(args, &from, &mut errors);
        let decisions = given(&kafka.decisions_topic);
        if let Some(topic) = &decisions {
            check_topic("--decisions-topic", topic, &mut errors);
        }
        let wait = duration::parse(&args.wait).filter(|wait| *wait <= MAX_WAIT);
        if wait.is_none() {
            errors.push(format!(
                "--wait {:?} is not a duration up to 10m; write it as 5s or 500ms",
                args.wait
            ));
        }
        let memory = byte_size::parse(&args.memory).filter(|bytes| *bytes >= MIN_MEMORY_BYTES);
        if memory.is_none() {
            errors.push(format!(
                "--memory {:?} is not a size from 16MiB on; write it as 512MiB or 2GiB",
                args.memory
            ));
        }
        match (target, wait, memory) {
            (Some(target), Some(wait), Some(max_bytes)) if errors.is_empty() => Ok(Self {
                from,
                group: given(&kafka.group).unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
                decisions,
                target,
                wait: Duration::from_nanos(wait),
                max_bytes,
            }),
            _ => Err(errors),
        }
    }

    #[cfg(not(feature = "kafka"))]
    fn open(&self) -> Result<OpenStream> {
        anyhow::bail!(NO_CLIENT)
    }

    /// Finds the topics.
    #[cfg(feature = "kafka")]
    fn open(&self) -> Result<OpenStream> {
        let from = self.from.settings();
        let reader = TopicReader::open(&from, &self.group).context("--from-kafka")?;
        let decisions = self.decisions.as_ref().map(|topic| {
            let settings = SpanTopicSettings {
                topic: topic.clone(),
                ..from.clone()
            };
            DecisionTopic::open(&settings).map(|topic| Arc::new(topic) as _)
        });
        let decisions = decisions.transpose().context("--decisions-topic")?;
        let (sink, exporter): (Arc<dyn WovenTraceSink>, _) = match &self.target {
            StreamTarget::Topic(address) => {
                let topic = TraceTopic::open(&address.settings()).context("--to-kafka")?;
                (Arc::new(topic), None)
            }
            StreamTarget::BackEnd(target) => {
                let exporter = target.open()?;
                (Arc::clone(&exporter) as _, Some(exporter))
            }
        };
        Ok(OpenStream {
            records: Box::new(reader),
            sink,
            exporter,
            decisions,
        })
    }
}

// === impl StreamTarget ===

impl StreamTarget {
    fn parse(args: &WeaveArgs, from: &TopicAddress, errors: &mut Vec<String>) -> Option<Self> {
        let given = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        let (brokers, topic) = (given(&args.kafka.to_kafka), given(&args.to_topic));
        let back_end = ForwardTarget::parse(&args.forward, errors);
        match (brokers, topic, back_end) {
            (None, None, Some(back_end)) => Some(Self::BackEnd(Box::new(back_end.without_loss()))),
            (Some(brokers), Some(topic), None) => {
                check_brokers("--to-kafka", &brokers, errors);
                check_topic("--to-topic", &topic, errors);
                if topic == from.topic {
                    errors.push(format!(
                        "--to-topic {topic} is the topic that is read; use another one"
                    ));
                }
                Some(Self::Topic(TopicAddress {
                    brokers,
                    topic,
                    properties: from.properties.clone(),
                }))
            }
            _ => {
                errors.push(
                    "woven spans go to one place: name --to-kafka BROKERS with --to-topic NAME, or \
                     --forward URL"
                        .to_owned(),
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args::{CliArgs, CliCommand};

    fn parse(options: &[&str]) -> Result<StreamOptions, Vec<String>> {
        let arguments = ["throughline", "weave"].iter().chain(options);
        let arguments: Vec<OsString> = arguments.map(OsString::from).collect();
        let Ok(CliCommand::Weave(args)) = CliArgs::parse(&arguments) else {
            panic!("{options:?}");
        };
        StreamOptions::parse(&args)
    }

    #[test]
    fn stream_goes_to_a_topic_or_to_a_back_end() {
        let from = ["--from-kafka", "a:1"];
        let to = |options: &[&'static str]| parse(&[&from[..], options].concat());
        let topic = to(&["--to-kafka", "b:2", "--to-topic", "woven"]).unwrap();
        let StreamTarget::Topic(address) = topic.target else {
            panic!("{topic:?}");
        };
        assert_eq!((&*address.brokers, &*address.topic), ("b:2", "woven"));
        assert_eq!(
            (&*topic.from.topic, &*topic.group),
            ("otlp_spans", "throughline")
        );
        let back_end = to(&["--forward", "http://tempo:4318"]).unwrap();
        assert!(matches!(back_end.target, StreamTarget::BackEnd(_)));
    }

    #[test]
    fn every_mistake_is_listed_with_its_remedy() {
        for (options, expected) in [
            (&["--from-kafka", "a:1"][..], "name --to-kafka BROKERS"),
            (
                &["--from-kafka", "a:1", "--to-kafka", "a:1"],
                "name --to-kafka BROKERS",
            ),
            (
                &[
                    "--from-kafka",
                    "a:1",
                    "--to-kafka",
                    "a:1",
                    "--to-topic",
                    "otlp_spans",
                ],
                "the topic that is read",
            ),
            (
                &["--from-kafka", "a:1", "--forward", "http://b", "x.jsonl"],
                "weaves no files",
            ),
        ] {
            let errors = parse(options).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(expected), "{errors:?}");
        }
        let options = ["--from-kafka", "a", "--wait", "x", "--memory", "1KiB"];
        assert_eq!(parse(&options).unwrap_err().len(), 4);
    }
}
