//! Checks of spans: each record has its producer and consumer spans, in one trace, at its position.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use e2e::{TraceSet, TraceSpan};
use serde_json::json;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::wait;

use super::check::{RecordContext, RecordPosition};

/// Spans of one sidecar and one topic, by the position of their record.
pub(crate) struct TopicSpans {
    topic: String,
    by_position: BTreeMap<(String, RecordPosition), Vec<TraceSpan>>,
    all: Vec<TraceSpan>,
}

/// Spans are exported in batches, every few seconds.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);

// === impl TopicSpans ===

impl TopicSpans {
    /// Waits until each of these operations, such as `send`, has the expected number of spans.
    pub(crate) fn wait_for(
        collector: &CollectorInstance,
        service: &str,
        topic: &str,
        expected: &[(&str, usize)],
    ) -> Self {
        let poll = || {
            let spans = Self::find(collector, service, topic, expected);
            expected
                .iter()
                .all(|(operation, count)| spans.named(operation).count() >= *count)
                .then_some(spans)
        };
        wait::until(EXPORT_TIMEOUT, poll).unwrap_or_else(|| {
            let spans = Self::find(collector, service, topic, expected);
            let found: Vec<String> = expected
                .iter()
                .map(|(operation, _)| format!("{operation} {}", spans.named(operation).count()))
                .collect();
            panic!("{service} recorded {found:?} spans of {topic}, expected {expected:?}")
        })
    }

    fn find(
        collector: &CollectorInstance,
        service: &str,
        topic: &str,
        expected: &[(&str, usize)],
    ) -> Self {
        let mut all: BTreeMap<(String, String), TraceSpan> = BTreeMap::new();
        for (operation, _) in expected {
            let name = format!("{operation} {topic}");
            let traces = collector
                .search(&[
                    ("service", service),
                    ("operation", &name),
                    ("limit", "1500"),
                ])
                .unwrap();
            let spans = TraceSet::from_json(&json!({ "data": traces })).spans;
            let ours = spans.into_iter().filter(|span| span.service == service);
            all.extend(ours.map(|span| ((span.trace.clone(), span.id.clone()), span)));
        }
        let all: Vec<TraceSpan> = all
            .into_values()
            .filter(|span| span.tag("messaging.destination.name") == topic)
            .collect();
        let mut by_position: BTreeMap<_, Vec<TraceSpan>> = BTreeMap::new();
        for span in &all {
            if let Some(position) = position(span) {
                let operation = span.name.split(' ').next().unwrap_or_default().to_owned();
                by_position
                    .entry((operation, position))
                    .or_default()
                    .push(span.clone());
            }
        }
        Self {
            topic: topic.to_owned(),
            by_position,
            all,
        }
    }

    /// Returns the spans of one operation.
    pub(crate) fn with_operation(&self, operation: &str) -> Vec<TraceSpan> {
        self.named(operation).cloned().collect()
    }

    fn named(&self, operation: &str) -> impl Iterator<Item = &TraceSpan> {
        let name = format!("{operation} {}", self.topic);
        self.all.iter().filter(move |span| span.name == name)
    }

    /// Returns the spans at this position in this trace: a topic may have been recreated with the
    /// same offsets.
    fn at(
        &self,
        operation: &str,
        position: RecordPosition,
        context: &RecordContext,
    ) -> Vec<&TraceSpan> {
        let spans = self
            .by_position
            .get(&(operation.to_owned(), position))
            .into_iter()
            .flatten();
        spans.filter(|span| span.trace == context.trace).collect()
    }

    /// Checks that each record has its producer span, which created the record's context or is the
    /// child of the producer's own.
    pub(crate) fn assert_sent(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        client: &str,
        times: RangeInclusive<usize>,
    ) {
        for (position, context) in contexts {
            let spans = self.at("send", *position, context);
            assert!(
                times.contains(&spans.len()),
                "{} producer spans at {position:?}",
                spans.len()
            );
            // Each attempt of a retried request has its span; the record carries the context of the
            // attempt that arrived.
            let span = spans
                .iter()
                .find(|span| context.from_producer || span.id == context.span);
            let span =
                span.unwrap_or_else(|| panic!("no producer span of {context:?}, but {spans:?}"));
            self.assert_sender(span, context, client);
        }
    }

    /// Checks the same for records without acknowledgements: their spans have no offset.
    pub(crate) fn assert_sent_unacknowledged(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        client: &str,
    ) {
        for (position, context) in contexts {
            let spans: Vec<&TraceSpan> = self
                .named("send")
                .filter(|span| is_sender(span, context))
                .collect();
            let [span] = spans[..] else {
                panic!("{} producer spans at {position:?}", spans.len())
            };
            self.assert_sender(span, context, client);
        }
    }

    /// Checks the same for records that may have been sent more than once. If the first response is
    /// lost, the broker still has the record of the first attempt, whose span has no offset and an
    /// error.
    pub(crate) fn assert_sent_at_least_once(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
    ) {
        for (position, context) in contexts {
            let found = self.named("send").any(|span| is_sender(span, context));
            assert!(found, "no producer span of {context:?} at {position:?}");
        }
    }

    fn assert_sender(&self, span: &TraceSpan, context: &RecordContext, client: &str) {
        let references = if context.from_producer {
            vec![reference("CHILD_OF", context)]
        } else {
            Vec::new()
        };
        assert_eq!(span.references, references, "{span:?}");
        self.assert_tags(span, "producer", client);
    }

    /// Checks that each record has its consumer spans, which are children of its context and link
    /// to it.
    pub(crate) fn assert_processed(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        [client, group]: [&str; 2],
        times: RangeInclusive<usize>,
    ) {
        for (position, context) in contexts {
            let spans = self.at("process", *position, context);
            assert!(
                times.contains(&spans.len()),
                "{} consumer spans at {position:?}: {spans:?}",
                spans.len()
            );
            for span in spans {
                // Parent and link are one reference in Jaeger's model (docs/adr/0003).
                assert_eq!(
                    span.references,
                    [reference("FOLLOWS_FROM", context)],
                    "{span:?}"
                );
                self.assert_tags(span, "consumer", client);
                assert_eq!(span.tag("messaging.consumer.group.name"), group, "{span:?}");
            }
        }
    }

    /// Checks that each record has `times` spans of this operation that continue its context, from
    /// any service.
    pub(crate) fn assert_continued(
        &self,
        operation: &str,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        times: RangeInclusive<usize>,
    ) {
        for (position, context) in contexts {
            let spans = self.at(operation, *position, context);
            assert!(
                times.contains(&spans.len()),
                "{} {operation} spans at {position:?}",
                spans.len()
            );
            let is_unrelated = |span: &&&TraceSpan| {
                span.trace != context.trace || parent(span) != Some(&context.span)
            };
            let unrelated = spans.iter().find(is_unrelated);
            assert!(
                unrelated.is_none(),
                "{unrelated:?} does not continue {context:?}"
            );
        }
    }

    /// Checks the delivery counts of each record.
    pub(crate) fn assert_delivery_counts(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        counts: &[i64],
    ) {
        for (position, context) in contexts {
            let spans = self.at("process", *position, context);
            let mut found: Vec<i64> = spans
                .iter()
                .filter_map(|span| span.tags.get("throughline.kafka.delivery_count")?.as_i64())
                .collect();
            found.sort_unstable();
            assert_eq!(found, counts, "deliveries at {position:?}");
        }
    }

    /// Checks that these records have no consumer span.
    pub(crate) fn assert_not_processed<'a>(
        &self,
        mut contexts: impl Iterator<Item = &'a RecordContext>,
    ) {
        let is_there = |context: &RecordContext| {
            self.named("process")
                .any(|span| span.trace == context.trace)
        };
        let found = contexts.find(|context| is_there(context));
        assert!(found.is_none(), "{found:?} was processed");
    }

    /// Checks that each record has `times` commits, each the child of a consumer span.
    pub(crate) fn assert_committed(
        &self,
        contexts: &BTreeMap<RecordPosition, RecordContext>,
        times: &RangeInclusive<usize>,
    ) {
        for (position, context) in contexts {
            let processed = self.at("process", *position, context);
            let commits = self
                .named("commit")
                .filter(|span| processed.iter().any(|one| parent(span) == Some(&one.id)));
            let commits = commits.count();
            assert!(
                times.contains(&commits),
                "{commits} commits of the record at {position:?}, with {processed:?}"
            );
        }
    }

    /// Checks that all spans of these operations name a consumer group.
    pub(crate) fn assert_group(&self, operations: &[&str], group: &str) {
        for span in operations
            .iter()
            .flat_map(|operation| self.named(operation))
        {
            assert_eq!(span.tag("messaging.consumer.group.name"), group, "{span:?}");
        }
    }

    fn assert_tags(&self, span: &TraceSpan, kind: &str, client: &str) {
        for (name, value) in [
            ("span.kind", kind),
            ("messaging.system", "kafka"),
            ("messaging.destination.name", &self.topic),
            ("messaging.client.id", client),
        ] {
            assert_eq!(span.tag(name), value, "{name} of {span:?}");
        }
        assert!(!span.tags.contains_key("error.type"), "{span:?}");
    }
}

fn position(span: &TraceSpan) -> Option<RecordPosition> {
    let partition = span
        .tag("messaging.destination.partition.id")
        .parse()
        .ok()?;
    let offset = span.tags.get("messaging.kafka.offset")?.as_i64()?;
    Some((partition, offset))
}

/// Returns whether the span created this context, or is the child of the producer's own.
fn is_sender(span: &TraceSpan, context: &RecordContext) -> bool {
    let is_child = context.from_producer && parent(span) == Some(context.span.as_str());
    span.trace == context.trace && (span.id == context.span || is_child)
}

fn parent(span: &TraceSpan) -> Option<&str> {
    span.references.first().map(|(_, _, id)| id.as_str())
}

fn reference(kind: &str, context: &RecordContext) -> (String, String, String) {
    (kind.to_owned(), context.trace.clone(), context.span.clone())
}
