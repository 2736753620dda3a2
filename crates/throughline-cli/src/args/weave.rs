//! Arguments of `throughline weave`.

use std::path::PathBuf;

use super::forward::ForwardArgs;
use super::kafka::KafkaArgs;

const STREAM: &str = "Kafka";

pub(super) const EXAMPLES: &str = "\
Examples:
  throughline weave spans.jsonl -o woven.jsonl
      Weave OTLP JSON, one request a line, as the collector's file exporter writes it.
  curl -s 'http://localhost:16686/api/traces?service=shop&raw=true' | throughline weave -
      Weave traces of a Jaeger or Throughline collector; the result goes to stdout.
  throughline weave day.jsonl -o woven.jsonl --confidence 0.99
      Join only where an inferred parent is very likely.
  throughline weave --from-kafka kafka:9092 --forward http://tempo:4318
      Weave the spans of a topic, as a member of a group, in front of another back end.
  throughline weave --from-kafka kafka:9092 --to-kafka kafka:9092 --to-topic woven_spans
      Weave the spans of a topic into another one.

Spans that are woven:
  Those that have no parent because a proxy could not know it: from Throughline's sidecars with
  throughline.parent.evidence=open, and from Envoy's and Istio's tracers. Records are joined by
  cluster, topic, partition and offset, which is exact. Within a process, parents are inferred from
  the times of its requests and calls and from values that they share; processes are distinguished
  by service.name and service.instance.id (or pod, host, node_id).

The result is OTLP JSON, one trace a line, with the parents and trace ids that were found. A span
that was joined has throughline.parent.evidence (offset, proven, tokens, structure or timing), its
throughline.parent.confidence, and throughline.woven.trace_id, the trace that it was reported in.
Nothing else changes. The report goes to stderr. docs/weaving.md explains what can be inferred.

With --from-kafka the spans of a topic are woven until SIGINT or SIGTERM, and sent on when nothing
more is decided about their trace. Offsets are committed after the delivery: a span is sent at least
once. Progress goes to stderr.";

/// Arguments of `throughline weave`.
#[derive(Debug, clap::Args)]
pub(crate) struct WeaveArgs {
    /// Files with spans: OTLP JSON, one request a line or one document, or Jaeger JSON; - for stdin
    #[arg(required_unless_present = "from_kafka", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// File for the result; stdout by default
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Least confidence of an inferred parent that joins two traces, from 0.5 to 1
    #[arg(
        long,
        env = "THROUGHLINE_WEAVE_CONFIDENCE",
        default_value = "0.95",
        value_name = "PROBABILITY"
    )]
    pub(crate) confidence: String,

    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,

    /// Topic of --to-kafka for woven spans, which must exist
    #[arg(
        long,
        env = "THROUGHLINE_TO_TOPIC",
        value_name = "NAME",
        help_heading = STREAM
    )]
    pub(crate) to_topic: Option<String>,

    #[command(flatten)]
    pub(crate) forward: ForwardArgs,

    /// Time after a span until its parent is inferred, with --from-kafka
    #[arg(
        long,
        env = "THROUGHLINE_WEAVE_WAIT",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = STREAM
    )]
    pub(crate) wait: String,

    /// Memory for spans until they are delivered, with --from-kafka
    #[arg(
        long,
        env = "THROUGHLINE_WEAVE_MEMORY",
        default_value = "512MiB",
        value_name = "SIZE",
        help_heading = STREAM
    )]
    pub(crate) memory: String,
}
